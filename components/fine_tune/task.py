"""Fine-tuning, the poster's strategy 2: the network trains on from the cut-off layer on augmented pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras

from components.config import FineTune
from components.modeling import artifact, devices
from components.modeling.network import unfreeze_from
from components.modeling.training import Plan, steps_an_epoch, train
from components.settings_record import record_settings
from components.shards import Shards
from components.stage import log


def run(settings: FineTune, shards_folder: Path, start: Path, model: Path, logs: Path) -> None:
    """Fine-tunes the feature-extraction model of `start` and writes the model, its SavedModel and the logs.

    Raises:
        ValueError: the cut-off is no layer or leaves nothing to train, or the batch exceeds the training set.
        FloatingPointError: the loss diverged.
    """
    devices.make_reproducible(settings.train_seed)
    keras.mixed_precision.set_global_policy(devices.precision(settings.train_precision))
    data, strategy = Shards.read(shards_folder), devices.strategy()
    plan = Plan(
        name="fine tuning",
        optimizer=settings.train_optimizer,
        learning_rate=settings.train_fine_tune_learning_rate,
        epochs=settings.train_fine_tune_epochs,
        steps=steps_an_epoch(len(data.split("train")), settings.train_batch_size),
        patience=settings.train_patience,
        logs=logs / "fine_tuning",
    )
    with strategy.scope():
        network = artifact.load(start)
        trainable = unfreeze_from(network, settings.model_cut_off)
        log.info("fine tuning from %s: %d of %d weights", settings.model_cut_off, trainable, network.count_params())
        history = train(
            network,
            data.training(settings.train_batch_size, plan.epochs, settings.train_seed),
            data.labelled("validation", settings.train_batch_size),
            plan,
        )
    contract = dataclasses.replace(
        artifact.Contract.read(start), cut_off=settings.model_cut_off, strategy="fine_tuning"
    )
    artifact.save(model, network, contract, history)
    record_settings(model, settings, start)
    artifact.export_saved_model(network, data.image_size, model / "saved_model")
