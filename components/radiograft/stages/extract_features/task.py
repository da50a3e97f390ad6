"""Feature extraction, the poster's strategy 1: the frozen backbone runs once, a new classifier learns its output."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import tensorflow as tf

from radiograft.backbones import BackboneSpec, get_backbone
from radiograft.config import ExtractFeatures
from radiograft.config.base import record_settings
from radiograft.data.catalog import prediction_frame
from radiograft.data.shards.dataset import Shards
from radiograft.models import artifact
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import parse_cut_offs
from radiograft.models.feature_taps import check_tap
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor, head_layers
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.training import devices
from radiograft.training.checkpoints import Checkpoints, weights_digest
from radiograft.training.cut_off_curve import AUTO, LAST, choose_feature_layer, compute_curve, write_curve
from radiograft.training.datasets import data_from_activations, steps_per_epoch
from radiograft.training.feature_extraction import FITTED_SPLITS, RANDOM_PREDICTIONS, FeatureSet, extract_features
from radiograft.training.history import History
from radiograft.training.tasks.multilabel import MultilabelTask
from radiograft.training.trainer import TrainConfig, train


def run(
    settings: ExtractFeatures, shards_folder: Path, features: Path, model: Path, logs: Path, checkpoints: Checkpoints
) -> None:
    """Writes the pooled features of every candidate layer, the cut-off curve, the feature-extraction model and logs.

    What `checkpoints` hold of an attempt that was killed is not done again.

    With `model_random_baseline` the features folder also holds the validation predictions of the same classifier on a
    backbone with random weights.

    Raises:
        ValueError: cut-off or feature layer is no layer, the cut-off lies behind the feature layer, a weight file does
            not fit, or the batch exceeds the training set.
        RuntimeError: ImageNet weights cannot be had, or promised GPUs are missing.
    """
    devices.make_reproducible(settings.train_seed)
    keras.mixed_precision.set_global_policy(devices.choose_precision(settings.train_precision))
    data, strategy = Shards.read(shards_folder), devices.distribution_strategy()
    steps_per_epoch(len(data.split("train")), settings.train_batch_size, strategy.num_replicas_in_sync)
    with strategy.scope():
        extraction = _extract(settings, settings.model_weights, data, strategy, features, checkpoints)
        points, scores = compute_curve(extraction, {s: data.truth(s) for s in FITTED_SPLITS})
        write_curve(features, points, scores, logs / "linear_probes")
        backbone, cut_off = extraction.backbone, settings.model_cut_off
        spec_of_backbone = get_backbone(settings.model_backbone)
        layer = choose_feature_layer(
            settings.model_feature_layer, points, lambda name: _fine_tunable(backbone, spec_of_backbone, name, cut_off)
        )
        network, head, history = _fit(
            settings, extraction, layer, data, strategy, logs / "feature_extraction", checkpoints
        )
        if settings.model_random_baseline:
            _random_baseline(settings, layer, data, strategy, features, logs, checkpoints)
    spec = ModelSpec(
        image_size=data.image_size,
        labels=data.labels,
        backbone=settings.model_backbone,
        weights=settings.model_weights,
        cut_off="",
        strategy="feature_extraction",
        head=head,
    )
    artifact.save_model(model, network, spec, dataclasses.asdict(history))
    record_settings(model, settings, shards_folder)


def _extract(
    settings: ExtractFeatures,
    weights: str,
    data: Shards,
    strategy: tf.distribute.Strategy,
    folder: Path,
    checkpoints: Checkpoints,
) -> FeatureSet:
    """All layers' features from a backbone with these weights; settings that cannot work are refused before."""
    backbone = build_backbone(settings.model_backbone, weights, settings.model_weights_md5, data.image_size)
    spec = get_backbone(settings.model_backbone)
    parse_cut_offs(settings.model_cut_off, backbone, spec)
    if settings.model_feature_layer not in (AUTO, LAST):
        check_tap(spec, settings.model_feature_layer)
        _extractor(backbone, spec, settings.model_feature_layer, settings.model_cut_off)
    return extract_features(backbone, spec.taps, data, settings.train_batch_size, strategy, folder, checkpoints)


def _extractor(backbone: keras.Model, spec: BackboneSpec, layer: str, cut_off: str) -> keras.Model:
    """The backbone up to the feature layer, pooled.

    Raises:
        ValueError: fine-tuning cannot begin at the cut-off in a network that ends there.
    """
    network = build_feature_extractor(backbone, layer)
    try:
        parse_cut_offs(cut_off, network, spec)
    except ValueError as error:
        raise ValueError(
            f"model_cut_off must suit a network that ends at the feature layer {layer!r}: {error}"
        ) from error
    return network


def _fine_tunable(backbone: keras.Model, spec: BackboneSpec, layer: str, cut_off: str) -> bool:
    """Whether `_extractor` takes this layer."""
    try:
        _extractor(backbone, spec, layer, cut_off)
    except ValueError:
        return False
    return True


def _fit(
    settings: ExtractFeatures,
    extraction: FeatureSet,
    layer: str,
    data: Shards,
    strategy: tf.distribute.Strategy,
    logs: Path,
    checkpoints: Checkpoints,
) -> tuple[keras.Model, tuple[str, ...], History]:
    """Trains a classifier on one layer's features; returns the network from images to probabilities and the names of its head's layers."""
    extractor = _extractor(extraction.backbone, get_backbone(settings.model_backbone), layer, settings.model_cut_off)
    training, validation = (extraction.of(layer, split, data) for split in FITTED_SPLITS)
    seed, replicas = settings.train_seed, strategy.num_replicas_in_sync
    classifier = build_classifier(
        extractor.output.shape[-1],
        len(data.labels),
        dense_units=settings.model_dense_units,
        dropout=settings.model_dropout,
        l2=settings.model_l2,
        seed=seed,
        activation=MultilabelTask().activation,
    )
    plan = TrainConfig(
        name=logs.name.replace("_", " "),
        optimizer=settings.train_optimizer,
        learning_rate=settings.train_feature_learning_rate,
        recipe=settings.recipe(),
        epochs=settings.train_feature_epochs,
        patience=settings.train_patience,
        logs=logs,
        head=head_layers(classifier),
    )
    network = attach_classifier(extractor, classifier)
    facts = (dataclasses.asdict(settings), data.identity(), weights_digest(network), replicas)
    material = data_from_activations(training, validation, settings.train_batch_size, seed, replicas)
    history = train(classifier, material, plan, strategy, checkpoints.of(logs.name, *facts))
    return network, plan.head, history


def _random_baseline(
    settings: ExtractFeatures,
    layer: str,
    data: Shards,
    strategy: tf.distribute.Strategy,
    features: Path,
    logs: Path,
    checkpoints: Checkpoints,
) -> None:
    """What the same classifier learns when the backbone knows nothing of ImageNet."""
    extraction = _extract(settings, "none", data, strategy, features / "random_weights", checkpoints)
    network, _, _ = _fit(settings, extraction, layer, data, strategy, logs / "random_weights", checkpoints)
    images = data.images("validation", settings.train_batch_size)
    scores = Predictor(network, strategy).predict(images)
    prediction_frame(data.split("validation"), data.labels, scores).to_parquet(
        features / RANDOM_PREDICTIONS, index=False
    )
