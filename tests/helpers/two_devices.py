"""Runs the same work on one device and on two logical CPU devices, and writes the results as JSON.

TensorFlow can split the CPU only before its first use, so this runs in a separate process:
`python -m tests.helpers.two_devices SHARDS OUT [WORK ...]`, by default all works.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from radiograft.backbones import get_backbone
from radiograft.config.network import MapPooling
from radiograft.config.super_resolution import SuperResolution
from radiograft.config.training import FineTune, Recipe
from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import HeatMaps
from radiograft.models.backbone import build_backbone
from radiograft.models.class_maps import build_class_map_classifier, build_self_transfer_classifier
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.graph_split import split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec, TensorNames
from radiograft.training import devices
from radiograft.training.activation_cache import CachedActivations, cache_activations
from radiograft.training.attention import copy_branches, train_branches
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import (
    TrainingData,
    data_from_activations,
    data_from_images,
    fit_covariates,
    with_patient_data,
    with_views,
)
from radiograft.training.history import History
from radiograft.training.search.cut_off import SearchContext
from radiograft.training.super_resolution import GeneratorTraining, train_generator
from radiograft.training.tasks.base import TrainingTask
from radiograft.training.tasks.multiclass import MulticlassTask
from radiograft.training.tasks.multilabel import MultilabelTask
from radiograft.training.train_config import TrainConfig
from radiograft.training.trainer import train
from tests.helpers.fused import network_for
from tests.helpers.studies import dual_network

BATCH = 8
PLAIN = Recipe()
FULL = Recipe(
    "cosine", warm_up=0.2, layer_decay=0.5, ema=0.8, clip_norm=0.05, label_smoothing=0.1, loss_weights="balanced"
)


def aligned(values: np.ndarray) -> np.ndarray:
    """Returns a copy aligned to 64 bytes, which TensorFlow uses without copying."""
    memory = np.empty(values.nbytes + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def features(images: int, seed: int, unknown: bool = False, exclusive: bool = False) -> CachedActivations:
    """Returns six features and two labels per image. If `unknown`, every third second label and one pair are NaN.

    If `exclusive`, the labels are three classes, unknown for every fifth image.
    """
    values = np.random.default_rng(seed).normal(size=(images, 6)).astype("float16")
    truth = (values[:, :2] > 0).astype("float32")
    if unknown:
        truth[::3, 1] = truth[4] = np.nan
    if exclusive:
        truth = np.eye(3, dtype="float32")[values[:, :3].argmax(axis=1)]
        truth[::5] = np.nan
    return CachedActivations([aligned(values)[None]], aligned(truth), [f"image-{number}" for number in range(images)])


def trained(
    model: keras.Model,
    training_data: TrainingData,
    strategy: tf.distribute.Strategy,
    folder: Path,
    recipe: Recipe,
    task: TrainingTask = MultilabelTask(),  # noqa: B008  immutable
) -> dict[str, Any]:
    """Trains for three epochs; returns history and weights. The full recipe uses SGD, which clipping affects."""
    optimizer, rate = ("adam", 0.05) if recipe == PLAIN else ("sgd", 0.5)
    config = TrainConfig("test", optimizer, rate, recipe, epochs=3, patience=9, logs=folder / "logs", task=task)
    history = train(model, training_data, config, strategy, Checkpoints(""))
    weights = [weight.numpy().ravel().tolist() for weight in model.trainable_weights]
    return {"epochs": history.epochs, "initial": history.initial, "best_epoch": history.best_epoch, "weights": weights}


def classifier(
    strategy: tf.distribute.Strategy, folder: Path, held_out: int, recipe: Recipe = PLAIN, unknown: bool = False
) -> dict[str, Any]:
    """Trains a classifier without dropout, whose masks would differ between devices."""
    training, validation = features(27, 1, unknown), features(held_out, 2, unknown)
    training_data = data_from_activations(training, validation, BATCH, 0, strategy.num_replicas_in_sync)
    with strategy.scope():
        model = build_classifier(6, 2, dense_units=5, dropout=0.0, l2=0.01, seed=1)
        return trained(model, training_data, strategy, folder, recipe)


def exclusive_classes(strategy: tf.distribute.Strategy, folder: Path) -> dict[str, Any]:
    """Trains a softmax classifier with class weights, label smoothing and unknown classes."""
    training, validation = features(27, 1, exclusive=True), features(17, 2, exclusive=True)
    training_data = data_from_activations(training, validation, BATCH, 0, strategy.num_replicas_in_sync)
    task = MulticlassTask(3)
    with strategy.scope():
        model = build_classifier(6, 3, dense_units=5, dropout=0.0, l2=0.01, seed=1, activation=task.activation)
        return trained(model, training_data, strategy, folder, FULL, task)


def with_unknown(images: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Sets a third of the labels of a batch to NaN."""
    row, column = tf.range(BATCH)[:, None], tf.range(truth.shape[1])
    return images, tf.where((row + column) % 3 == 0, np.float32("nan"), truth)


def fine_tuned(strategy: tf.distribute.Strategy, folder: Path, data: Shards) -> dict[str, Any]:
    """Trains the first blocks of a backbone, half of them frozen, on augmented images with unknown labels."""
    training_data = data_from_images(data, BATCH, 0, strategy.num_replicas_in_sync)
    training_data = training_data._replace(batches=lambda epochs: data.training(BATCH, epochs, 0).map(with_unknown))
    with strategy.scope():
        backbone = build_feature_extractor(
            build_backbone("efficientnet_lite0", "none", "", data.image_size, data.image_input.channels), "block3b_add"
        )
        head = build_classifier(40, len(data.labels), dense_units=0, dropout=0.0, l2=0.0, seed=0)
        model = attach_classifier(backbone, head)
        unfreeze_from(model, "block3a_project_conv")
        result = trained(model, training_data, strategy, folder, FULL)
    predictions = Predictor(model, strategy).predict(data.images("test", BATCH))
    sample = [weight[::101] for weight in result["weights"]]
    return {**result, "weights": sample, "predictions": predictions.tolist()}


def cached(
    prefix: keras.Model, data: Shards, strategy: tf.distribute.Strategy, folder: Path, copies: int = 2
) -> TrainingData:
    """Returns the outputs of a network as training data: augmented copies of the training images, and validation."""
    predictor = Predictor(prefix, strategy)
    training, validation = (
        cache_activations(predictor, data, part, copies=count, batch_size=BATCH, seed=0, folder=folder / part)
        for part, count in (("train", copies), ("validation", 0))
    )
    return data_from_activations(training, validation, BATCH, 0, strategy.num_replicas_in_sync)


def on_activations(strategy: tf.distribute.Strategy, folder: Path, data: Shards) -> dict[str, Any]:
    """Trains on cached activations of a small network with two branches, one of them frozen."""
    with strategy.scope():
        cut = split_model(branched(data.image_size, data.image_input.channels, len(data.labels)), "tuned")
        cut.prefix.trainable = False
        return trained(cut.suffix, cached(cut.prefix, data, strategy, folder), strategy, folder, FULL)


def batch_norm(strategy: tf.distribute.Strategy, folder: Path, data: Shards) -> dict[str, Any]:
    """Trains a normalization behind the cut-off on cached activations; that of the frozen part stays as it is."""
    with strategy.scope():
        network = normalized(data.image_size, data.image_input.channels, len(data.labels))
        unfreeze_from(network, "tuned", batch_norm="train")
        cut = split_model(network, "tuned")
        result = trained(cut.suffix, cached(cut.prefix, data, strategy, folder), strategy, folder, PLAIN)
    statistics = {name: network.get_layer(name).get_weights()[2:] for name in ("frozen_bn", "tuned_bn")}
    return result | {name: [values.tolist() for values in pair] for name, pair in statistics.items()}


def normalized(size: int, channels: int, labels: int) -> keras.Model:
    image = keras.Input((size, size, channels), dtype="uint8")
    outputs = keras.layers.Rescaling(1 / 255)(image)
    for name in ("frozen", "tuned"):
        outputs = keras.layers.Conv2D(4, 3, strides=4, name=name, use_bias=False)(outputs)
        outputs = keras.layers.ReLU()(keras.layers.BatchNormalization(name=f"{name}_bn")(outputs))
    pooled = keras.layers.GlobalAveragePooling2D()(outputs)
    return keras.Model(image, keras.layers.Dense(labels, activation="sigmoid")(pooled))


def on_joined_features(strategy: tf.distribute.Strategy, folder: Path, data: Shards) -> dict[str, Any]:
    """Fine-tunes a classifier on three layers, two of them frozen, whose pooled features are cached too."""
    with strategy.scope():
        backbone = build_backbone("efficientnet_lite0", "none", "", data.image_size)
        features = build_feature_extractor(backbone, "block1a_project_bn", "block2b_add", "block3a_project_bn")
        head = build_classifier(16 + 24 + 40, len(data.labels), dense_units=4, dropout=0.0, l2=0.0, seed=0)
        model = attach_classifier(features, head)
        unfreeze_from(model, "block3a_project_conv")
        cut = split_model(model, "block3a_project_conv")
        return trained(cut.suffix, cached(cut.prefix, data, strategy, folder), strategy, folder, FULL)


def dual_view(strategy: tf.distribute.Strategy, folder: Path, data: Shards) -> dict[str, Any]:
    """Trains both branches of a network for studies on cached activations."""
    data = with_views(data, lateral=True)
    with strategy.scope():
        model = dual_network(data)
        unfreeze_from(model, "conv")
        cut = split_model(model, "conv")
        return trained(cut.suffix, cached(cut.prefix, data, strategy, folder), strategy, folder, FULL)


def on_patient_data(strategy: tf.distribute.Strategy, folder: Path, data: Shards) -> dict[str, Any]:
    """Trains on cached activations and patient data, which bypass the frozen layers."""
    data = with_patient_data(data, fit_covariates(data, ["age", "sex", "view"]))
    with strategy.scope():
        model = network_for(data, dropout=0.0)  # each device would drop other values
        unfreeze_from(model, "conv")
        cut = split_model(model, "conv")
        return trained(cut.suffix, cached(cut.prefix, data, strategy, folder), strategy, folder, FULL)


def on_class_map(strategy: tf.distribute.Strategy, folder: Path, data: Shards) -> dict[str, Any]:
    """Trains a head with a learned r for each label on the cached last activation, and explains seven images."""
    with strategy.scope():
        image = keras.Input((data.image_size, data.image_size, data.image_input.channels), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 255)(image)
        last = keras.layers.Conv2D(5, 5, strides=4, activation="relu", name="last")(scaled)
        shape = tuple(last.shape[1:])
        head = build_class_map_classifier(
            shape, len(data.labels), MapPooling("lse_lba", 2.0), dense_units=4, dropout=0.0, l2=0.01, seed=0
        )
        model = attach_classifier(keras.Model(image, last, name="small_features"), head)
        training_data = cached(keras.Model(image, last), data, strategy, folder, copies=0)
        result = trained(keras.Model(last, model.output), training_data, strategy, folder, FULL)
    names = TensorNames(pooling="classifier_dense", class_map="class_map")
    maps = HeatMaps(model, strategy, names).stream(data.chosen("test", range(7)).batch(3), 1)
    return {**result, "heat": [np.stack(heats)[:, ::5, ::5].tolist() for batch in maps for heats in batch.by_image()]}


def two_heads(strategy: tf.distribute.Strategy, folder: Path, data: Shards) -> dict[str, Any]:
    """Trains a head on pooled features and one on a class map, on the cached last activation."""
    with strategy.scope():
        image = keras.Input((data.image_size, data.image_size, data.image_input.channels), dtype="uint8")
        scaled = keras.layers.Rescaling(1 / 255)(image)
        last = keras.layers.Conv2D(5, 5, strides=4, activation="relu", name="last")(scaled)
        head = build_self_transfer_classifier(
            tuple(last.shape[1:]),
            len(data.labels),
            MapPooling("self_transfer", localization=0.4),
            dense_units=4,
            dropout=0.0,
            l2=0.01,
            seed=0,
        )
        model = attach_classifier(keras.Model(image, last, name="small_features"), head)
        training_data = cached(keras.Model(image, last), data, strategy, folder, copies=0)
        return trained(keras.Model(last, model.output), training_data, strategy, folder, FULL)


def attention_guided(strategy: tf.distribute.Strategy, folder: Path, data: Shards) -> dict[str, Any]:
    """Trains a local branch and its fusion on guided crops, whose regions both devices find.

    The labels are measured on the images, so that a small network learns them in a few epochs.
    """
    splits = ("train", "validation", "test")
    images = np.concatenate([batch for split in splits for batch in data.images(split, BATCH).as_numpy_iterator()])
    measured = np.stack([images.mean((1, 2, 3)), images.std((1, 2, 3)), images[:, 8:-8, 8:-8].mean((1, 2, 3))], axis=1)
    data = dataclasses.replace(data, targets=(measured > np.median(measured, axis=0)).astype("float32"))
    with strategy.scope():
        gray = keras.Input((data.image_size, data.image_size, 1), dtype="uint8", name="picture")
        maps = keras.layers.Conv2D(6, 3, strides=4, activation="relu", name="maps")(
            keras.layers.Rescaling(1 / 255, name="normalised")(gray)
        )
        last = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="last")(maps)
        head = build_classifier(6, len(data.labels), dense_units=4, dropout=0.0, l2=0.0, seed=0)
        model = attach_classifier(build_feature_extractor(keras.Model(gray, last, name="small")), head)
        head_names = ("classifier_dense", "classifier_dropout", "probabilities")
        spec = ModelSpec(data.image_size, data.labels, "efficientnet_lite0", "none", "maps", "fine_tuning", head_names)
        settings = FineTune(model_cut_off="maps", train_batch_size=BATCH, train_cached_augmentations=2)
        config = TrainConfig("test", "adam", 0.01, PLAIN, 4, 9, folder / "logs", head_names)
        context = SearchContext(settings, data, config, strategy, Checkpoints(""))
        copies = copy_branches(model, control=False)
        trained_branches = train_branches(model, History([], 0, {}), copies, spec, context, config)
    predictions = Predictor(trained_branches.network, strategy).predict(data.images("test", BATCH))
    boxes = next(Predictor(trained_branches.comparison, strategy).iter_batches(data.images("test", BATCH)))[0]
    stages = [{**stage["metrics"], "best_epoch": stage["best_epoch"]} for stage in trained_branches.stages[1:]]
    return {"predictions": predictions.tolist(), "boxes": boxes.tolist(), "stages": stages}


def super_resolution(strategy: tf.distribute.Strategy, data: Shards) -> dict[str, Any]:
    """Trains a generator with pixel and adversarial loss; returns the losses and an enlarged image."""
    settings = SuperResolution(
        model_generator_filters=4, model_generator_blocks=1, train_generator_crop=8, train_pixel_steps=3,
        train_adversarial_steps=3,
    )  # fmt: skip
    losses = list[float]()
    training = GeneratorTraining(settings, BATCH, data.image_input.channels, strategy)
    generator, _ = train_generator(training, data, Checkpoints(""), lambda _, each: losses.append(each["pixel"]))
    (image,) = data.chosen("test", [0]).as_numpy_iterator()
    return {"pixel": losses, "image": np.asarray(generator(image[None].astype("float32")))[0, ::5, ::5, 0].tolist()}


def branched(size: int, channels: int, labels: int) -> keras.Model:
    image = keras.Input((size, size, channels), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(image)
    frozen = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="frozen")(scaled)
    tuned = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="tuned")(frozen)
    both = keras.layers.Concatenate()([frozen, tuned])
    pooled_both = keras.layers.GlobalAveragePooling2D()(both)
    return keras.Model(image, keras.layers.Dense(labels, activation="sigmoid")(pooled_both))


def evaluated_again(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Predicts the same features four times; returns the differences, and whether the features are unchanged."""
    held_out = features(32, 3)
    before = held_out.parts[0].copy()
    with strategy.scope():
        predictor = Predictor(build_classifier(6, 2, dense_units=5, dropout=0.0, l2=0.0, seed=1), strategy)
    answers = [predictor.predict(held_out.in_order(BATCH)) for _ in range(4)]
    return {
        "answers": [float(np.abs(answer - answers[0]).max()) for answer in answers],
        "unchanged": bool((held_out.parts[0] == before).all()),
    }


def streamed(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Predicts seven rows of two tensors in batches of 3, 3 and 1, which do not divide evenly between two devices."""
    given = features(7, 4)
    with strategy.scope():
        first, second = keras.Input((6,)), keras.Input((2,))
        model = keras.Model([first, second], keras.layers.Concatenate()([first, second]))
        predictor = Predictor(model, strategy)
    batches = tf.data.Dataset.from_tensor_slices((given.parts[0][0], given.truth)).batch(3)
    return {"parts": [part.tolist() for part in predictor.iter_outputs(batches)]}


def heat_maps(strategy: tf.distribute.Strategy, data: Shards) -> dict[str, Any]:
    """Returns some values of both heat maps of seven images in batches of 3, 3 and 1."""
    with strategy.scope():
        network = build_backbone("efficientnet_lite0", "none", "", data.image_size, data.image_input.channels)
        backbone = build_feature_extractor(network)
        head = build_classifier(1280, len(data.labels), dense_units=4, dropout=0.0, l2=0.0, seed=0)
        model = attach_classifier(backbone, head)
    batches = data.chosen("test", range(7)).batch(3)
    batches_of_maps = list(HeatMaps(model, strategy, blocks=get_backbone("efficientnet_lite0").taps).stream(batches, 1))
    return {
        name: [getattr(maps, name)[:, ::5, ::5].tolist() for maps in batches_of_maps]
        for name in ("grad_cam", "layer_cam")
    }


def main(shards: Path, out: Path, names: Sequence[str] = ()) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    data = Shards.read(shards)
    works: dict[str, Callable[[tf.distribute.Strategy, Path], dict[str, Any]]] = {
        "classifier": lambda strategy, folder: classifier(strategy, folder, held_out=17),
        "few_validation_images": lambda strategy, folder: classifier(strategy, folder, held_out=3),
        "unknown_labels": lambda strategy, folder: classifier(strategy, folder, 17, FULL, unknown=True),
        "exclusive_classes": exclusive_classes,
        "evaluated_again": lambda strategy, _: evaluated_again(strategy),
        "streamed": lambda strategy, _: streamed(strategy),
        "heat_maps": lambda strategy, _: heat_maps(strategy, data),
        "on_activations": lambda strategy, folder: on_activations(strategy, folder, data),
        "batch_norm": lambda strategy, folder: batch_norm(strategy, folder, data),
        "on_class_map": lambda strategy, folder: on_class_map(strategy, folder, data),
        "two_heads": lambda strategy, folder: two_heads(strategy, folder, data),
        "on_patient_data": lambda strategy, folder: on_patient_data(strategy, folder, data),
        "on_joined_features": lambda strategy, folder: on_joined_features(strategy, folder, data),
        "attention_guided": lambda strategy, folder: attention_guided(strategy, folder, data),
        "fine_tuned": lambda strategy, folder: fine_tuned(strategy, folder, data),
        "super_resolution": lambda strategy, _: super_resolution(strategy, data),
        "dual_view": lambda strategy, folder: dual_view(strategy, folder, data),
    }
    # One strategy for all works: a second one would reuse the numbers of collective operations.
    strategies = {"one": devices.distribution_strategy(), "two": devices.distribution_strategy(["/cpu:0", "/cpu:1"])}
    chosen = {
        name: works[name] for name in names or (name for name in works if name != "dual_view")
    }  # that work needs studies
    results: dict[str, dict[str, Any]] = {name: {} for name in chosen}
    for name, work in chosen.items():
        for count, strategy in strategies.items():
            devices.make_reproducible(0)
            results[name][count] = work(strategy, out.parent / name / count)
    out.write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
