"""Fine-tuning, the poster's strategy 2: the network trains on from the cut-off layer on augmented pictures."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from components.config import FineTune
from components.modeling import artifact, devices
from components.modeling.activations import bytes_needed, cache, choose
from components.modeling.early_pooling import pool_branches
from components.modeling.network import unfreeze_from
from components.modeling.split import split
from components.modeling.training import History, Plan, steps_an_epoch, train, validation_batch
from components.settings_record import record_settings
from components.shards import Shards
from components.stage import log


def run(settings: FineTune, shards_folder: Path, start: Path, model: Path, logs: Path) -> None:
    """Fine-tunes the feature-extraction model of `start` and writes the model, its SavedModel and the logs.

    The frozen layers run once a view where their outputs fit on the scratch disk (`train_augmentation`).

    Raises:
        ValueError: the cut-off is no layer or leaves nothing to train, or the batch exceeds the training set.
        FloatingPointError: the loss diverged, or an activation is too large to be cached.
        OSError: `train_augmentation=cached` does not fit on the scratch disk.
    """
    devices.make_reproducible(settings.train_seed)
    keras.mixed_precision.set_global_policy(devices.precision(settings.train_precision))
    data, strategy = Shards.read(shards_folder), devices.strategy()
    size, replicas = settings.train_batch_size, strategy.num_replicas_in_sync
    plan = Plan(
        name="fine tuning",
        optimizer=settings.train_optimizer,
        learning_rate=settings.train_fine_tune_learning_rate,
        epochs=settings.train_fine_tune_epochs,
        steps=steps_an_epoch(len(data.split("train")), size, replicas),
        patience=settings.train_patience,
        logs=logs / "fine_tuning",
    )
    with strategy.scope():
        network = artifact.load(start)
        trainable = unfreeze_from(network, settings.model_cut_off)
        log.info("fine tuning from %s: %d of %d weights", settings.model_cut_off, trainable, network.count_params())
        history = _train(settings, network, data, plan, strategy)
    contract = dataclasses.replace(
        artifact.Contract.read(start), cut_off=settings.model_cut_off, strategy="fine_tuning"
    )
    artifact.save(model, network, contract, history)
    record_settings(model, settings, start)
    artifact.export_saved_model(network, data.image_size, model / "saved_model")


def _train(
    settings: FineTune, network: keras.Model, data: Shards, plan: Plan, strategy: tf.distribute.Strategy
) -> History:
    """Trains the network's unfrozen layers, on cached activations or on pictures augmented anew each epoch."""
    size, seed = settings.train_batch_size, settings.train_seed
    held_out = validation_batch(len(data.split("validation")), size, strategy.num_replicas_in_sync)
    cut = split(pool_branches(network), settings.model_cut_off)
    with tempfile.TemporaryDirectory(prefix="radiograft-activations-") as folder:
        scratch = Path(folder)
        needed = bytes_needed(cut.bytes_a_view(), data, settings.train_views)
        cached, reason = choose(settings.train_augmentation, needed, scratch)
        log.info("augmentation %s: %s", "cached" if cached else "online", reason)
        if not cached:
            return train(network, data.training(size, plan.epochs, seed), data.labelled("validation", held_out), plan)
        store = functools.partial(
            cache, cut.prefix, data, batch_size=size, seed=seed, strategy=strategy, folder=scratch
        )
        views = store("train", views=settings.train_views)
        validation = store("validation", views=0)
        return train(cut.suffix, views.training(size, plan.epochs, seed), validation.in_order(held_out), plan)
