"""Fine-tuning: trains the feature-extraction model further from the cut-off layer, on augmented images."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from radiograft.backbones import get_backbone
from radiograft.config import ExtractFeatures, FineTune
from radiograft.config.base import read_settings, record_settings
from radiograft.config.training import ATTENTION_GUIDED, TENSORFLOW
from radiograft.data.shards.dataset import Shards
from radiograft.drift.reference import EmbeddingModel
from radiograft.models import artifact
from radiograft.models.cut_offs import parse_cut_offs
from radiograft.models.heads import cast_to_policy
from radiograft.models.out_of_distribution import FeatureDistribution, draw_fitted, fit_distribution
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.training import attention, devices
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import fit_batch_size, with_patient_data, with_views
from radiograft.training.frozen_engines import follow_choice
from radiograft.training.search import comparison
from radiograft.training.search import results as search_results
from radiograft.training.search.cut_off import SearchContext, fine_tune_each
from radiograft.training.tasks.registry import get_task
from radiograft.training.train_config import TrainConfig, train_config


def run(
    settings: FineTune, shards_folder: Path, start: Path, model: Path, logs: Path, checkpoints: Checkpoints
) -> None:
    """Fine-tunes the feature-extraction model in `start` and writes the model, its SavedModel and the logs.

    If `model_cut_off` selects several cut-offs, the best on validation is kept, and search.json contains all trials. If
    their outputs fit on the scratch disk (`train_augmentation`), the frozen layers run once per augmented copy.
    Training resumes from `checkpoints` of an earlier attempt.

    Raises:
        ValueError: a cut-off is not a layer or leaves no weights to train, or the training set is empty.
        FloatingPointError: training diverged, or an activation is too large for the cache.
        OSError: `train_augmentation=cached` does not fit on the scratch disk.
    """
    started = time.monotonic()
    devices.make_reproducible(settings.train_seed)
    keras.mixed_precision.set_global_policy(devices.choose_precision(settings.train_precision))
    data, strategy = Shards.read(shards_folder), devices.distribution_strategy()
    settings = fit_batch_size(settings, len(data.split("train")), strategy.num_replicas_in_sync)
    chosen = str(read_settings(start).get("train_frozen_engine", TENSORFLOW))
    engine = follow_choice(settings.train_frozen_engine, chosen)
    settings = dataclasses.replace(settings, train_frozen_engine=engine)
    spec = ModelSpec.read(start)
    data = with_views(with_patient_data(data, spec.covariates), spec.lateral)
    task = get_task(spec.task, spec.labels, spec.scales)
    config = train_config(settings, task, spec.head, logs / "fine_tuning")
    with strategy.scope():
        network = cast_to_policy(artifact.load_model(start), spec.tensors)
        cut_offs = parse_cut_offs(settings.model_cut_off, network, get_backbone(spec.backbone), spec.head)
        context = SearchContext(settings, data, config, strategy, checkpoints)
        is_guided = settings.model_branches == ATTENTION_GUIDED
        copies = attention.copy_branches(network, settings.train_crop_control) if is_guided else []
        history, trials = fine_tune_each(network, cut_offs, context)
        cut_off = str(search_results.best_trial(trials, config.task.monitor)["overrides"]["model_cut_off"])
        spec = dataclasses.replace(spec, cut_off=cut_off, strategy="fine_tuning", branches=settings.model_branches)
        if is_guided:
            head = _fusion_config(config, start)
            branches = attention.train_branches(network, history, copies, spec, context, head)
            network = branches.network
            artifact.save_branches(model, branches.comparison, branches.stages)
    distribution = _fit_distribution(settings, network, spec, data, strategy)
    spec = dataclasses.replace(spec, ood_threshold=distribution.threshold if distribution else None)
    artifact.save_model(model, network, spec, history.to_json())
    search_results.write_trials(model, trials)
    record_settings(model, settings, start)
    artifact.export_saved_model(network, spec, model / "saved_model", distribution)
    if distribution:
        distribution.write(model)
    if settings.backbones_to_compare():
        scores = Predictor(network, strategy).predict(data.inputs("validation", settings.train_batch_size))
        np.save(model / comparison.SCORES, scores)
        comparison.write_cost(model, time.monotonic() - started, network.count_params())


def _fusion_config(config: TrainConfig, start: Path) -> TrainConfig:
    """Returns how the fusion classifier is trained: as that of feature extraction, since it is a new one too."""
    settings = ExtractFeatures.of(read_settings(start))
    return dataclasses.replace(
        config, learning_rate=settings.train_feature_learning_rate, epochs=settings.train_feature_epochs
    )


def _fit_distribution(
    settings: FineTune, network: keras.Model, spec: ModelSpec, data: Shards, strategy: tf.distribute.Strategy
) -> FeatureDistribution | None:
    """Fits the distribution of the network's pooled features; None if the settings request no flag."""
    if not settings.model_ood_percentile:
        return None
    embedding_model = EmbeddingModel(network, strategy, spec.tensors)
    places = draw_fitted(len(data.split("train")), settings.train_seed).tolist()
    _, training = embedding_model.embed(data.chosen("train", places).batch(settings.train_batch_size))
    _, validation = embedding_model.embed(data.images("validation", settings.train_batch_size))
    return fit_distribution(training, validation, settings.model_ood_percentile)
