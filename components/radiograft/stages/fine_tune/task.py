"""Fine-tuning: trains the feature-extraction model further from the cut-off layer, on augmented images."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import keras
import numpy as np

from radiograft.backbones import get_backbone
from radiograft.config import FineTune
from radiograft.config.base import record_settings
from radiograft.data.shards.dataset import Shards
from radiograft.models import artifact
from radiograft.models.cut_offs import parse_cut_offs
from radiograft.models.heads import cast_to_policy
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.training import devices
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import fit_batch_size
from radiograft.training.search import comparison
from radiograft.training.search import results as search_results
from radiograft.training.search.cut_off import SearchContext, fine_tune_each
from radiograft.training.tasks.base import TrainingTask
from radiograft.training.tasks.registry import get_task
from radiograft.training.trainer import TrainConfig, TrainObserver


def run(
    settings: FineTune, shards_folder: Path, start: Path, model: Path, logs: Path, checkpoints: Checkpoints
) -> None:
    """Fine-tunes the feature-extraction model in `start` and writes the model, its SavedModel and the logs.

    If `model_cut_off` selects several cut-offs, the best on validation is kept, and search.json contains all trials. If
    their outputs fit on the scratch disk (`train_augmentation`), the frozen layers run once per augmented view.
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
    spec = ModelSpec.read(start)
    config = train_config(settings, get_task(spec.task, spec.labels), spec.head, logs / "fine_tuning")
    with strategy.scope():
        network = cast_to_policy(artifact.load_model(start), spec.tensors)
        cut_offs = parse_cut_offs(settings.model_cut_off, network, get_backbone(spec.backbone), spec.head)
        context = SearchContext(settings, data, config, strategy, checkpoints)
        history, trials = fine_tune_each(network, cut_offs, context)
    cut_off = str(search_results.best_trial(trials, config.task.monitor)["overrides"]["model_cut_off"])
    spec = dataclasses.replace(spec, cut_off=cut_off, strategy="fine_tuning")
    artifact.save_model(model, network, spec, dataclasses.asdict(history))
    search_results.write_trials(model, trials)
    record_settings(model, settings, start)
    artifact.export_saved_model(network, spec, model / "saved_model")
    if settings.backbones_to_compare():
        scores = Predictor(network, strategy).predict(data.images("validation", settings.train_batch_size))
        np.save(model / comparison.SCORES, scores)
        comparison.write_cost(model, time.monotonic() - started, network.count_params())


def train_config(
    settings: FineTune,
    task: TrainingTask,
    head: tuple[str, ...],
    logs: Path,
    observer: TrainObserver | None = None,
) -> TrainConfig:
    """Returns how to fine-tune; see `TrainConfig`."""
    return TrainConfig(
        name="fine tuning",
        optimizer=settings.train_optimizer,
        learning_rate=settings.train_fine_tune_learning_rate,
        recipe=settings.recipe(),
        epochs=settings.train_fine_tune_epochs,
        patience=settings.train_patience,
        logs=logs,
        head=head,
        task=task,
        observer=observer,
    )
