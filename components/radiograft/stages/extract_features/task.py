"""Feature extraction: runs the frozen backbone once and trains a new classifier on its pooled outputs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from radiograft.backbones import BackboneSpec, get_backbone
from radiograft.config import ExtractFeatures
from radiograft.config.base import record_settings
from radiograft.config.training import ALL_LAYERS, AUTO_LAYER, LAST_LAYER, split_feature_layers
from radiograft.data.catalog import prediction_frame
from radiograft.data.shards.dataset import Shards
from radiograft.models import artifact
from radiograft.models.backbone import build_backbone, read_normalization
from radiograft.models.covariates import PATIENT_INPUT
from radiograft.models.cut_offs import check_tap, parse_cut_offs
from radiograft.models.feature_layers import named_layers, pooled_parts
from radiograft.models.graph import further_inputs
from radiograft.models.heads import (
    attach_classifier,
    build_classifier,
    build_feature_extractor,
    build_patient_input,
    head_layers,
)
from radiograft.models.predictor import Predictor
from radiograft.models.spec import DEFAULT_NAMES, ModelSpec
from radiograft.training import devices
from radiograft.training.checkpoints import Checkpoints, weights_digest
from radiograft.training.cut_off_curve import Point, choose_feature_layers, compute_curve, write_curve
from radiograft.training.datasets import data_from_activations, fit_batch_size, fit_covariates, with_patient_data
from radiograft.training.feature_extraction import (
    FITTED_SPLITS,
    IMAGE_ALONE,
    RANDOM_PREDICTIONS,
    FeatureSet,
    extract_features,
)
from radiograft.training.history import History
from radiograft.training.reduced_curve import compute_reduced_curve, write_reduced_curve
from radiograft.training.search import comparison
from radiograft.training.tasks.registry import get_monitor, get_task
from radiograft.training.trainer import TrainConfig, train


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
    data, strategy = Shards.read(shards_folder), devices.distribution_strategy()
    settings = fit_batch_size(settings, len(data.split("train")), strategy.num_replicas_in_sync)
    covariates = fit_covariates(data, settings.patient_data())
    data = with_patient_data(data, covariates)
    with strategy.scope():
        extraction = _extract(settings, settings.model_weights, data, strategy, features, checkpoints)
        points = _write_curves(settings, extraction, data, features, logs / "linear_probes")
        backbone, cut_off = extraction.backbone, settings.model_cut_off
        backbone_spec = get_backbone(settings.model_backbone)
        layers = choose_feature_layers(
            settings.model_feature_layer, points, lambda name: _is_fine_tunable(backbone, backbone_spec, name, cut_off)
        )
        network, head, history = _fit(
            settings, extraction, layers, data, strategy, logs / "feature_extraction", checkpoints
        )
        if covariates:
            without = dataclasses.replace(data, further={})
            alone, _, _ = _fit(settings, extraction, layers, without, strategy, logs / IMAGE_ALONE, checkpoints)
        if settings.model_random_baseline:
            _random_baseline(settings, layers, data, strategy, features, logs, checkpoints)
    spec = ModelSpec(
        image_size=data.image_size,
        labels=data.labels,
        backbone=settings.model_backbone,
        weights=settings.model_weights,
        cut_off="",
        strategy="feature_extraction",
        head=head,
        image_resize=data.image_input.resize,
        gray_range=data.image_input.gray_range,
        task=data.task,
        channels=data.image_input.channels,
        normalization=read_normalization(extraction.backbone),
        covariates=covariates,
    )
    artifact.save_model(model, network, spec, history.to_json())
    if covariates:  # the baseline that the evaluation compares with
        (model / IMAGE_ALONE).mkdir(exist_ok=True)
        alone.save(model / IMAGE_ALONE / "model.keras")
    record_settings(model, settings, shards_folder)
    if settings.backbones_to_compare():
        comparison.write_cost(model, time.monotonic() - started, network.count_params())


def _write_curves(
    settings: ExtractFeatures, extraction: FeatureSet, data: Shards, folder: Path, logs: Path
) -> list[Point]:
    """Computes and writes the cut-off curve and, if requested, that of reduced features; returns the former."""
    truth, activation = (
        {split: data.truth(split) for split in FITTED_SPLITS},
        get_task(data.task, data.labels).activation,
    )
    points, scores = compute_curve(extraction, truth, activation)
    write_curve(folder, points, scores, logs)
    if reductions := settings.feature_reductions():
        reduced = compute_reduced_curve(extraction, truth, reductions, settings.train_seed, activation)
        write_reduced_curve(folder, *reduced, logs)
    return points


def _extract(
    settings: ExtractFeatures,
    weights: str,
    data: Shards,
    strategy: tf.distribute.Strategy,
    folder: Path,
    checkpoints: Checkpoints,
) -> FeatureSet:
    """Checks the settings and extracts the features of all tapped layers from a backbone with these weights."""
    backbone = build_backbone(
        settings.model_backbone,
        weights,
        settings.model_weights_md5,
        data.image_size,
        data.image_input.channels,
        settings.model_normalization,
    )
    spec = get_backbone(settings.model_backbone)
    parse_cut_offs(settings.model_cut_off, backbone, spec)
    if settings.model_feature_layer not in (AUTO_LAYER, LAST_LAYER, ALL_LAYERS):
        for name in split_feature_layers(settings.model_feature_layer):
            check_tap(spec, name)
        layers = named_layers(settings.model_feature_layer, spec.taps)
        _build_extractor(backbone, spec, layers, settings.model_cut_off)
    return extract_features(backbone, spec.taps, data, settings.train_batch_size, strategy, folder, checkpoints)


def _build_extractor(backbone: keras.Model, spec: BackboneSpec, layers: Sequence[str], cut_off: str) -> keras.Model:
    """Returns the backbone up to the deepest feature layer, with global pooling.

    Raises:
        ValueError: fine-tuning cannot start at the cut-off if the network ends at this layer.
    """
    network = build_feature_extractor(backbone, *layers)
    try:
        parse_cut_offs(cut_off, network, spec)
    except ValueError as error:
        raise ValueError(
            f"model_cut_off must suit a network that ends at the feature layer {layers[-1]!r}: {error}"
        ) from error
    return network


def _is_fine_tunable(backbone: keras.Model, spec: BackboneSpec, layer: str, cut_off: str) -> bool:
    """Returns whether fine-tuning can start at the cut-off if the network ends at this layer."""
    try:
        _build_extractor(backbone, spec, [layer], cut_off)
    except ValueError:
        return False
    return True


def _fit(
    settings: ExtractFeatures,
    extraction: FeatureSet,
    layers: Sequence[str],
    data: Shards,
    strategy: tf.distribute.Strategy,
    logs: Path,
    checkpoints: Checkpoints,
) -> tuple[keras.Model, tuple[str, ...], History]:
    """Trains a classifier on the features of these layers.

    Returns:
        The network from images to probabilities, the names of the layers of its head, and the history.
    """
    backbone_spec = get_backbone(settings.model_backbone)
    extractor = _build_extractor(extraction.backbone, backbone_spec, layers, settings.model_cut_off)
    if len(layers) > 1:
        extractor.get_layer(DEFAULT_NAMES.pooling).set_weights(extraction.scales(layers))
    training, validation = (extraction.of(layers, split, data) for split in FITTED_SPLITS)
    seed, replicas = settings.train_seed, strategy.num_replicas_in_sync
    task = get_task(data.task, data.labels)
    patient = _patient_input(settings, data)
    classifier = build_classifier(
        extractor.output.shape[-1] + (patient.output.shape[-1] if patient else 0),
        len(data.labels),
        dense_units=settings.model_dense_units,
        dropout=settings.model_dropout,
        l2=settings.model_l2,
        seed=seed,
        activation=task.activation,
    )
    config = TrainConfig(
        name=logs.name.replace("_", " "),
        optimizer=settings.train_optimizer,
        learning_rate=settings.train_feature_learning_rate,
        recipe=settings.recipe(),
        epochs=settings.train_feature_epochs,
        patience=settings.train_patience,
        logs=logs,
        head=head_layers(classifier),
        task=task,
        monitor=get_monitor(settings.train_monitor),
        members=settings.train_members,
    )
    network = attach_classifier(extractor, classifier, patient)
    pooled = pooled_parts(network, DEFAULT_NAMES.pooling)
    trained = keras.Model([*pooled, *further_inputs(network)], network.output, name="classifier")
    key = (dataclasses.asdict(settings), data.identity(), weights_digest(network), replicas)
    training_data = data_from_activations(training, validation, settings.train_batch_size, seed, replicas)
    history = train(trained, training_data, config, strategy, checkpoints.of(logs.name, *key))
    return network, config.head, history


def _patient_input(settings: ExtractFeatures, data: Shards) -> keras.Model | None:
    """Returns the layers that read patient data; None if the network reads images alone."""
    if PATIENT_INPUT not in data.further:
        return None
    height, width = data.further[PATIENT_INPUT].shape[1:]
    return build_patient_input((height, width), settings.model_patient_dropout, settings.train_seed)


def _random_baseline(
    settings: ExtractFeatures,
    layers: Sequence[str],
    data: Shards,
    strategy: tf.distribute.Strategy,
    features: Path,
    logs: Path,
    checkpoints: Checkpoints,
) -> None:
    """Trains the same classifier on a backbone with random weights and writes its validation predictions.

    The seed is set again, because a resumed attempt drew fewer random numbers before this point.
    """
    keras.utils.set_random_seed(settings.train_seed)
    extraction = _extract(settings, "none", data, strategy, features / "random_weights", checkpoints)
    network, _, _ = _fit(settings, extraction, layers, data, strategy, logs / "random_weights", checkpoints)
    batches = data.inputs("validation", settings.train_batch_size)
    scores = Predictor(network, strategy).predict(batches)
    predictions = prediction_frame(data.split("validation"), data.labels, scores)
    predictions.to_parquet(features / RANDOM_PREDICTIONS, index=False)
