"""What one device and two logical CPU devices make of the same work, written as JSON; run in a process of its own.

TensorFlow divides the CPU only before it is first used: `python -m tests.components.modeling.two_devices SHARDS OUT`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.extract_features.features import in_order, shuffled
from components.modeling import devices
from components.modeling.activations import cache
from components.modeling.backbones import build_backbone
from components.modeling.inference import stream
from components.modeling.network import attach_classifier, build_classifier, pooled, unfreeze_from
from components.modeling.split import split
from components.modeling.training import Plan, steps_an_epoch, train, validation_batch
from components.shards import Shards

BATCH = 8


def aligned(values: np.ndarray) -> np.ndarray:
    """A copy that begins at a multiple of 64 bytes, which TensorFlow takes over without copying it."""
    memory = np.empty(values.nbytes + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def features(pictures: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.random.default_rng(seed).normal(size=(pictures, 6)).astype("float32")
    return aligned(values), aligned((values[:, :2] > 0).astype("float32"))


def plan(folder: Path, pictures: int, replicas: int, **chosen: Any) -> Plan:
    steps = steps_an_epoch(pictures, BATCH, replicas)
    return Plan(name="test", optimizer="adam", steps=steps, patience=9, logs=folder / "logs", **chosen)


def outcome(model: keras.Model, history: Any) -> dict[str, Any]:
    weights = [weight.numpy().ravel().tolist() for weight in model.trainable_weights]
    return {"epochs": history.epochs, "initial": history.initial, "weights": weights}


def classifier(strategy: tf.distribute.Strategy, folder: Path, held_out: int) -> dict[str, Any]:
    """A classifier's history and weights; no dropout, whose masks are each device's own."""
    training, validation = features(27, 1), features(held_out, 2)
    replicas = strategy.num_replicas_in_sync
    chosen = plan(folder, 27, replicas, learning_rate=0.05, epochs=3)
    with strategy.scope():
        model = build_classifier(6, 2, dense_units=5, dropout=0.0, l2=0.01, seed=1)
        batches = in_order(*validation, validation_batch(held_out, BATCH, replicas))
        return outcome(model, train(model, shuffled(*training, BATCH, 3, 0), batches, chosen))


def fine_tuned(strategy: tf.distribute.Strategy, folder: Path, data: Shards) -> dict[str, Any]:
    """Two epochs of fine-tuning a backbone's first blocks, half of them frozen, on augmented pictures."""
    replicas, held_out = strategy.num_replicas_in_sync, len(data.split("validation"))
    chosen = plan(folder, len(data.split("train")), replicas, learning_rate=1e-3, epochs=2)
    with strategy.scope():
        backbone = pooled(build_backbone("efficientnet_lite0", "none", "", data.image_size), "block3b_add")
        head = build_classifier(40, len(data.labels), dense_units=0, dropout=0.0, l2=0.0, seed=0)
        model = attach_classifier(backbone, head)
        unfreeze_from(model, "block3a_project_conv")
        validation = data.labelled("validation", validation_batch(held_out, BATCH, replicas))
        result = outcome(model, train(model, data.training(BATCH, chosen.epochs, 0), validation, chosen))
    predictions = np.concatenate(list(stream(model, data.pictures("test", BATCH), strategy)))
    sample = [weight[::101] for weight in result["weights"]]
    return {**result, "weights": sample, "predictions": predictions.tolist()}


def on_activations(strategy: tf.distribute.Strategy, folder: Path, data: Shards) -> dict[str, Any]:
    """The same from cached activations of a small network with two branches, one of them frozen."""
    replicas, rows = strategy.num_replicas_in_sync, len(data.split("train"))
    chosen = plan(folder, rows, replicas, learning_rate=1e-2, epochs=2)
    with strategy.scope():
        cut = split(branched(data.image_size, len(data.labels)), "tuned")
        cut.prefix.trainable = False
        stored = {
            part: cache(
                cut.prefix, data, part, views=views, batch_size=BATCH, seed=0, strategy=strategy, folder=folder / part
            )
            for part, views in (("train", 2), ("validation", 0))
        }
        held_out = validation_batch(len(stored["validation"].truth), BATCH, replicas)
        training, validation = stored["train"].training(BATCH, 2, 0), stored["validation"].in_order(held_out)
        return outcome(cut.suffix, train(cut.suffix, training, validation, chosen))


def branched(size: int, labels: int) -> keras.Model:
    picture = keras.Input((size, size, 1), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(picture)
    frozen = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="frozen")(scaled)
    tuned = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="tuned")(frozen)
    both = keras.layers.Concatenate()([frozen, tuned])
    pooled_both = keras.layers.GlobalAveragePooling2D()(both)
    return keras.Model(picture, keras.layers.Dense(labels, activation="sigmoid")(pooled_both))


def evaluated_again(strategy: tf.distribute.Strategy, folder: Path) -> dict[str, Any]:
    """The loss of one model on the same features, four times, and whether these are still what they were."""
    values, truth = features(32, 3)
    before = values.copy(), truth.copy()
    with strategy.scope():
        model = build_classifier(6, 2, dense_units=5, dropout=0.0, l2=0.0, seed=1)
        model.compile("sgd", "binary_crossentropy")
        losses = [model.evaluate(in_order(values, truth, BATCH), verbose=0) for _ in range(4)]
    return {"losses": losses, "unchanged": bool((values == before[0]).all() and (truth == before[1]).all())}


def main(shards: Path, out: Path) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    data = Shards.read(shards)
    works: dict[str, Callable[[tf.distribute.Strategy, Path], dict[str, Any]]] = {
        "classifier": lambda strategy, folder: classifier(strategy, folder, held_out=17),
        "few_validation_pictures": lambda strategy, folder: classifier(strategy, folder, held_out=3),
        "evaluated_again": evaluated_again,
        "on_activations": lambda strategy, folder: on_activations(strategy, folder, data),
        "fine_tuned": lambda strategy, folder: fine_tuned(strategy, folder, data),
    }
    # One strategy for all: a second one would number its collective operations as the first did.
    strategies = {"one": devices.strategy(), "two": devices.strategy(["/cpu:0", "/cpu:1"])}
    results: dict[str, dict[str, Any]] = {name: {} for name in works}
    for name, work in works.items():
        for count, strategy in strategies.items():
            devices.make_reproducible(0)
            results[name][count] = work(strategy, out.parent / name / count)
    out.write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
