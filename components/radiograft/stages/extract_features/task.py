"""Feature extraction: runs the frozen backbone once and trains a new classifier on its pooled outputs."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from radiograft.backbones import get_backbone
from radiograft.config import ExtractFeatures
from radiograft.config.base import record_settings
from radiograft.config.data import REGRESSION
from radiograft.config.network import AVERAGE, FRONTAL_LATERAL
from radiograft.data.catalog import prediction_frame
from radiograft.data.shards.dataset import Shards
from radiograft.data.studies import check_laterals
from radiograft.models import artifact
from radiograft.models.backbone import read_normalization
from radiograft.models.class_maps import CLASS_MAP
from radiograft.models.covariates import Covariate
from radiograft.models.predictor import Predictor
from radiograft.models.spec import DEFAULT_NAMES, ModelSpec, TensorNames
from radiograft.training import devices
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.cut_off_curve import Point, choose_feature_layers, compute_curve, write_curve
from radiograft.training.datasets import fit_batch_size, fit_covariates, with_patient_data, with_views
from radiograft.training.feature_classifier import extract_all_features, fit_classifier, is_fine_tunable, target_scales
from radiograft.training.feature_extraction import FITTED_SPLITS, IMAGE_ALONE, RANDOM_PREDICTIONS, FeatureSet
from radiograft.training.reduced_curve import compute_reduced_curve, write_reduced_curve
from radiograft.training.search import comparison
from radiograft.training.tasks.registry import get_task


def run(
    settings: ExtractFeatures, shards_folder: Path, features: Path, model: Path, logs: Path, checkpoints: Checkpoints
) -> None:
    """Writes the pooled features of all tapped layers, the cut-off curve, the feature-extraction model and the logs.

    Work resumes from `checkpoints` of an earlier attempt. With `model_random_baseline` the features folder also
    contains the validation predictions of the same classifier on a backbone with random weights.

    Raises:
        ValueError: the cut-off or the feature layer is not a layer, the feature layer does not depend on the cut-off, a
            weight file does not fit, or the training set is empty.
        RuntimeError: the ImageNet weights are not available, or GPUs are missing.
    """
    started = time.monotonic()
    devices.make_reproducible(settings.train_seed)
    keras.mixed_precision.set_global_policy(devices.choose_precision(settings.train_precision))
    strategy = devices.distribution_strategy()
    data, covariates = _read_data(shards_folder, settings)
    settings = fit_batch_size(settings, len(data.split("train")), strategy.num_replicas_in_sync)
    is_compared = bool(covariates) and data.task != REGRESSION  # with the image alone, by AUROC
    with tempfile.TemporaryDirectory(prefix="radiograft-maps-") as scratch, strategy.scope():
        extraction = extract_all_features(settings, data, strategy, features, Path(scratch), checkpoints)
        settings = dataclasses.replace(settings, train_frozen_engine=extraction.engine)  # recorded below
        points = _write_curves(settings, extraction, data, features, logs / "linear_probes")
        layers = _choose_layers(settings, extraction, points)
        network, head, history = fit_classifier(
            settings, extraction, layers, data, strategy, logs / "feature_extraction", checkpoints
        )
        if is_compared:
            images = dataclasses.replace(data, further={})
            alone, _, _ = fit_classifier(
                settings, extraction, layers, images, strategy, logs / IMAGE_ALONE, checkpoints
            )
        if settings.model_random_baseline:
            _random_baseline(settings, layers, data, strategy, features, logs, Path(scratch), checkpoints)
    artifact.save_model(model, network, _model_spec(settings, data, extraction, head, covariates), history.to_json())
    if is_compared:
        (model / IMAGE_ALONE).mkdir(exist_ok=True)
        alone.save(model / IMAGE_ALONE / "model.keras")
    record_settings(model, settings, shards_folder)
    if settings.backbones_to_compare():
        comparison.write_cost(model, time.monotonic() - started, network.count_params())


def _read_data(folder: Path, settings: ExtractFeatures) -> tuple[Shards, tuple[Covariate, ...]]:
    """Returns the shards, with the patient data that the network reads, and the encodings of the latter."""
    data = Shards.read(folder)
    covariates = fit_covariates(data, settings.patient_data())
    if settings.model_views == FRONTAL_LATERAL:
        check_laterals(data.rows)
    return with_patient_data(data, covariates), covariates


def _choose_layers(settings: ExtractFeatures, extraction: FeatureSet, points: list[Point]) -> list[str]:
    """Returns the layers whose features the classifier reads."""
    backbone, cut_off = extraction.backbone, settings.model_cut_off
    spec = get_backbone(settings.model_backbone)
    return choose_feature_layers(
        settings.model_feature_layer, points, lambda name: is_fine_tunable(backbone, spec, name, cut_off)
    )


def _model_spec(
    settings: ExtractFeatures,
    data: Shards,
    extraction: FeatureSet,
    head: tuple[str, ...],
    covariates: tuple[Covariate, ...],
) -> ModelSpec:
    return ModelSpec(
        image_size=data.image_size,
        labels=data.labels,
        backbone=settings.model_backbone,
        weights=settings.model_weights,
        cut_off="",
        strategy="feature_extraction",
        head=head,
        tensors=_tensor_names(settings, head),
        pooling=settings.model_pooling,
        image_resize=data.image_input.resize,
        gray_range=data.image_input.gray_range,
        task=data.task,
        channels=data.image_input.channels,
        reduced_jpeg=data.image_input.reduced_jpeg,
        enlarged_by=data.image_input.enlarged_by,
        normalization=read_normalization(extraction.backbone),
        covariates=covariates,
        scales=target_scales(data),
        lateral=settings.model_views == FRONTAL_LATERAL,
    )


def _tensor_names(settings: ExtractFeatures, head: Sequence[str]) -> TensorNames:
    if settings.model_pooling == AVERAGE:
        return DEFAULT_NAMES
    return dataclasses.replace(DEFAULT_NAMES, pooling=head[0], class_map=CLASS_MAP)


def _write_curves(
    settings: ExtractFeatures, extraction: FeatureSet, data: Shards, folder: Path, logs: Path
) -> list[Point]:
    """Computes and writes the cut-off curve and, if requested, that of reduced features; returns the former."""
    truth = {split: data.truth(split) for split in FITTED_SPLITS}
    task = get_task(data.task, data.labels, target_scales(data))
    points, scores = compute_curve(extraction, truth, task)
    write_curve(folder, points, scores, logs)
    if reductions := settings.feature_reductions():
        reduced = compute_reduced_curve(extraction, truth, reductions, settings.train_seed, task)
        write_reduced_curve(folder, *reduced, logs)
    return points


def _random_baseline(
    settings: ExtractFeatures,
    layers: Sequence[str],
    data: Shards,
    strategy: tf.distribute.Strategy,
    features: Path,
    logs: Path,
    scratch: Path,
    checkpoints: Checkpoints,
) -> None:
    """Trains the same classifier on a backbone with random weights and writes its validation predictions.

    The seed is set again, because a resumed attempt drew fewer random numbers before this point.
    """
    keras.utils.set_random_seed(settings.train_seed)
    folder = features / "random_weights"
    extraction = extract_all_features(settings, data, strategy, folder, scratch, checkpoints, random_weights=True)
    network, _, _ = fit_classifier(settings, extraction, layers, data, strategy, logs / "random_weights", checkpoints)
    batches = with_views(data, extraction.lateral is not None).inputs("validation", settings.train_batch_size)
    scores = Predictor(network, strategy).predict(batches)
    predictions = prediction_frame(data.split("validation"), data.labels, scores)
    predictions.to_parquet(features / RANDOM_PREDICTIONS, index=False)
