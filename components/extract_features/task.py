"""Feature extraction, the poster's strategy 1: the frozen backbone runs once, a new classifier learns its output."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from components.config import ExtractFeatures
from components.extract_features.features import extract, in_order, shuffled
from components.modeling import artifact, devices
from components.modeling.backbones import build_backbone
from components.modeling.inference import stream
from components.modeling.network import attach_classifier, build_classifier, check_cut_off, pooled
from components.modeling.training import History, Plan, steps_an_epoch, train, validation_batch
from components.records import prediction_frame
from components.settings_record import record_settings
from components.shards import Shards

RANDOM_PREDICTIONS = "random_weights_validation.parquet"


def run(settings: ExtractFeatures, shards_folder: Path, features: Path, model: Path, logs: Path) -> None:
    """Writes pooled features (`<split>.npy`, float32 [pictures, channels]), the feature-extraction model and its logs.

    With `model_random_baseline` the features folder also holds the validation predictions of the same classifier on a
    backbone with random weights.

    Raises:
        ValueError: the cut-off is no layer, a weight file does not fit, or the batch exceeds the training set.
        RuntimeError: ImageNet weights cannot be had, or promised GPUs are missing.
    """
    devices.make_reproducible(settings.train_seed)
    keras.mixed_precision.set_global_policy(devices.precision(settings.train_precision))
    data, strategy = Shards.read(shards_folder), devices.strategy()
    steps_an_epoch(len(data.split("train")), settings.train_batch_size, strategy.num_replicas_in_sync)
    with strategy.scope():
        network, history = _fit(settings, settings.model_weights, data, strategy, features, logs / "feature_extraction")
        if settings.model_random_baseline:
            _random_baseline(settings, data, strategy, features, logs)
    contract = artifact.Contract(
        image_size=data.image_size,
        labels=data.labels,
        backbone=settings.model_backbone,
        weights=settings.model_weights,
        cut_off="",
        strategy="feature_extraction",
    )
    artifact.save(model, network, contract, history)
    record_settings(model, settings, shards_folder)


def _fit(
    settings: ExtractFeatures,
    weights: str,
    data: Shards,
    strategy: tf.distribute.Strategy,
    folder: Path,
    logs: Path,
) -> tuple[keras.Model, History]:
    """Extracts the features with these weights and trains a classifier on them; returns the whole network."""
    backbone = build_backbone(settings.model_backbone, weights, settings.model_weights_md5, data.image_size)
    check_cut_off(backbone, settings.model_cut_off)
    extractor = pooled(backbone)
    extractor.trainable = False
    size, seed, replicas = settings.train_batch_size, settings.train_seed, strategy.num_replicas_in_sync
    stored = extract(extractor, data, size, strategy, folder)
    classifier = build_classifier(
        extractor.output.shape[-1],
        len(data.labels),
        dense_units=settings.model_dense_units,
        dropout=settings.model_dropout,
        l2=settings.model_l2,
        seed=seed,
    )
    plan = Plan(
        name=logs.name.replace("_", " "),
        optimizer=settings.train_optimizer,
        learning_rate=settings.train_feature_learning_rate,
        epochs=settings.train_feature_epochs,
        steps=steps_an_epoch(len(stored["train"]), size, replicas),
        patience=settings.train_patience,
        logs=logs,
    )
    training = shuffled(stored["train"], data.truth("train"), size, plan.epochs, seed)
    held_out = stored["validation"]
    validation = in_order(held_out, data.truth("validation"), validation_batch(len(held_out), size, replicas))
    history = train(classifier, training, validation, plan)
    return attach_classifier(extractor, classifier), history


def _random_baseline(
    settings: ExtractFeatures, data: Shards, strategy: tf.distribute.Strategy, features: Path, logs: Path
) -> None:
    """What the same classifier learns when the backbone knows nothing of ImageNet."""
    folder = features / "random_weights"
    network, _ = _fit(settings, "none", data, strategy, folder, logs / "random_weights")
    scores = np.concatenate(list(stream(network, data.pictures("validation", settings.train_batch_size), strategy)))
    prediction_frame(data.split("validation"), data.labels, scores).to_parquet(
        features / RANDOM_PREDICTIONS, index=False
    )
