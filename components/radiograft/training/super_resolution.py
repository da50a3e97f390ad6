"""Trains a generator: pixel loss first, then also adversarial and feature loss; resumes with the same result.

Everything random depends on the seed and the number of the step alone.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from radiograft.config.augmentation import Augmentation
from radiograft.config.super_resolution import SuperResolution
from radiograft.data.shards.dataset import Shards
from radiograft.models import variables
from radiograft.models.super_resolution import (
    WHITE,
    FeatureDistance,
    build_discriminator,
    build_generator,
    shrink,
    to_pixels,
)
from radiograft.training.checkpoints import Checkpoints

log = logging.getLogger(__name__)

SAVE_STEPS = 200  # between checkpoints
FILTERS_OF_DISCRIMINATOR = 32
MAX_PIXEL_LOSS = 0.25  # of white; bicubic interpolation of radiographs has below 0.02
Losses = dict[str, float]
Observer = Callable[[int, Losses], None]


class Watcher(Protocol):
    """Watches a training at each checkpoint."""

    def validate(self, generator: keras.Model) -> Losses:
        """Returns metrics of the averaged generator, which the row of the checkpoint keeps."""

    def record(self, row: Losses, *, restored: bool) -> None:
        """Takes the row of a checkpoint, at first those of an earlier attempt."""


@dataclasses.dataclass
class GeneratorTraining:
    """A generator, its discriminator, their optimizers and the averaged weights, all in the scope of a strategy.

    Attributes:
        settings: settings of the training.
        batch_size: of all devices together.
        channels: of the images.
        strategy: where the networks live.
        distance: the feature loss, made in the scope; None leaves it out.
    """

    settings: SuperResolution
    batch_size: int
    channels: int
    strategy: tf.distribute.Strategy
    distance: FeatureDistance | None = None

    def __post_init__(self) -> None:
        settings, replicas = self.settings, self.strategy.num_replicas_in_sync
        if self.batch_size % replicas:
            raise ValueError(f"train_batch_size must be a multiple of {replicas} devices, got {self.batch_size}")
        with self.strategy.scope():
            self.generator, self.averaged = (
                build_generator(
                    settings.model_scale,
                    self.channels,
                    filters=settings.model_generator_filters,
                    blocks=settings.model_generator_blocks,
                    seed=settings.train_seed,
                )
                for _ in range(2)
            )
            self.discriminator = build_discriminator(
                self.channels, filters=FILTERS_OF_DISCRIMINATOR, seed=settings.train_seed
            )
            self.optimizers = [_optimizer(network) for network in (self.generator, self.discriminator)]
        self._steps = {flag: tf.function(self._step_function(flag)) for flag in (False, True)}

    @property
    def changing(self) -> list[keras.Variable]:
        """All variables that a step changes."""
        networks = [weight for network in self._networks for weight in network.weights]
        return networks + [variable for optimizer in self.optimizers for variable in optimizer.variables]

    @property
    def _networks(self) -> tuple[keras.Model, ...]:
        return self.generator, self.averaged, self.discriminator

    def step(self, number: int, crops: np.ndarray) -> Losses:
        """Trains on a batch of crops, uint8 [batch, crop size, crop size, channels], and returns the losses.

        Raises:
            FloatingPointError: a loss is not finite, or the pixel loss is far above that of bicubic interpolation.
        """
        rate = self.settings.train_generator_learning_rate * _cosine(number, self.settings.steps)
        for optimizer in self.optimizers:
            optimizer.learning_rate = rate
        adversarial = number >= self.settings.train_pixel_steps
        share = self.batch_size // self.strategy.num_replicas_in_sync
        shares = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                crops[context.replica_id_in_sync_group * share : (context.replica_id_in_sync_group + 1) * share]
            )
        )
        losses = {name: float(value) for name, value in self._steps[adversarial](shares).items()}
        _check_losses(number, losses, rate)
        return losses

    def _step_function(self, adversarial: bool) -> Callable[[Any], Any]:
        def on_all(shares: Any) -> dict[str, Any]:
            losses = self.strategy.run(self._on_one_device, (shares, adversarial))
            return {name: self.strategy.reduce("SUM", value, axis=None) for name, value in losses.items()}

        return on_all

    def _on_one_device(self, crops: Any, adversarial: bool) -> dict[str, Any]:
        """Updates the networks; each loss is the device's part of the mean over the whole batch."""
        real = ops.cast(crops, "float32")
        small = ops.cast(to_pixels(shrink(real, self.settings.model_scale)), "float32")
        optimizer = self.optimizers[0]
        with tf.GradientTape() as tape:
            made = self.generator(small, training=True)
            losses = {name: ops.sum(each) / self.batch_size for name, each in self._losses(made, real, adversarial)}
            loss = optimizer.scale_loss(sum(losses.values()))
        self._apply(self.optimizers[0], tape.gradient(loss, self.generator.trainable_variables), self.generator)
        if adversarial and self.settings.train_adversarial_weight:
            losses["discriminator"] = self._train_discriminator(ops.stop_gradient(made), real)
        momentum = self.settings.train_generator_ema
        for average, weight in zip(self.averaged.weights, self.generator.weights, strict=True):
            average.assign(momentum * average + (1 - momentum) * weight)
        return losses

    def _losses(self, made: Any, real: Any, adversarial: bool) -> list[tuple[str, Any]]:
        """Returns the weighted losses of each crop by name."""
        settings = self.settings
        losses = [("pixel", ops.mean(ops.abs(made - real), axis=(1, 2, 3)) / WHITE)]
        if adversarial and settings.train_adversarial_weight:
            # Relativistic pairing (Jolicoeur-Martineau 2018): how much less real than its own original a crop looks.
            margin = self.discriminator(made) - self.discriminator(real)
            losses.append(("adversarial", settings.train_adversarial_weight * ops.softplus(-margin)))
        if adversarial and self.distance and settings.train_feature_weight:
            losses.append(("feature", settings.train_feature_weight * self.distance(made, real)))
        return losses

    def _train_discriminator(self, made: Any, real: Any) -> Any:
        optimizer = self.optimizers[1]
        with tf.GradientTape() as tape:
            margin = self.discriminator(real) - self.discriminator(made)
            loss = ops.sum(ops.softplus(-margin)) / self.batch_size
            scaled = optimizer.scale_loss(loss)
        self._apply(optimizer, tape.gradient(scaled, self.discriminator.trainable_variables), self.discriminator)
        return loss

    @staticmethod
    def _apply(optimizer: keras.optimizers.Optimizer, gradients: Any, network: keras.Model) -> None:
        optimizer.apply(gradients, network.trainable_variables)  # sums them over the devices


def _optimizer(network: keras.Model) -> keras.optimizers.Optimizer:
    """Returns Adam, with loss scaling in float16, built for the network."""
    optimizer = keras.optimizers.Adam(beta_1=0.9, beta_2=0.99)
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(network.trainable_variables)
    return optimizer


def _cosine(step: int, steps: int) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * step / steps)


def _check_losses(step: int, losses: Mapping[str, float], rate: float) -> None:
    if not all(map(math.isfinite, losses.values())) or losses["pixel"] > MAX_PIXEL_LOSS:
        shown = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
        raise FloatingPointError(
            f"the losses of super-resolution must be finite, and the pixel loss at most {MAX_PIXEL_LOSS}, got {shown} "
            f"at step {step + 1} with learning rate {rate:.3g}: choose a lower train_generator_learning_rate or "
            "train_adversarial_weight, or train_precision=float32"
        )


def stream_crops(data: Shards, settings: SuperResolution, batch_size: int, start: int = 0) -> tf.data.Dataset:
    """Streams a batch of crops for each training step from `start` on.

    Each image gives one crop an epoch. Order and position depend only on the seed and the number of the step.

    Returns:
        Batches uint8 [batch_size, crop size, crop size, channels].

    Raises:
        ValueError: the crops are larger than the images, or the batch than the training set.
    """
    size, count = settings.crop_size, len(data.split("train"))
    if size > data.image_size:
        raise ValueError(
            "train_generator_crop must be at most image_size / model_scale "
            f"({data.image_size // settings.model_scale}), got {settings.train_generator_crop}"
        )
    if batch_size > count:
        raise ValueError(f"train_batch_size must be at most the number of training images ({count}), got {batch_size}")
    epoch_steps = count // batch_size
    epochs = range(start // epoch_steps, -(-settings.steps // epoch_steps))
    plain = dataclasses.replace(data, augmentation=Augmentation())
    batches = plain.training(batch_size, epochs, settings.train_seed).map(lambda images, _: images)
    numbers = tf.data.Dataset.range(epochs.start * epoch_steps, epochs.stop * epoch_steps)
    chosen = tf.data.Dataset.zip(numbers, batches).skip(start - epochs.start * epoch_steps)

    def crop(number: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        seed = tf.stack([tf.constant(settings.train_seed, tf.int64), number])
        corners = tf.random.stateless_uniform([batch_size, 2], seed, 0, data.image_size - size + 1, tf.int32)
        return tf.map_fn(
            lambda each: tf.slice(each[0], tf.concat([each[1], [0]], 0), [size, size, images.shape[-1]]),
            (images, corners),
            fn_output_signature=tf.TensorSpec([size, size, images.shape[-1]], images.dtype),
        )

    return chosen.map(crop, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)


def train_generator(
    training: GeneratorTraining,
    data: Shards,
    checkpoints: Checkpoints,
    observer: Observer | None = None,
    watcher: Watcher | None = None,
) -> tuple[keras.Model, list[Losses]]:
    """Trains a generator and returns the one with averaged weights, and a row for each checkpoint.

    A row has the number of finished steps, the mean losses since the last one, and the metrics of the watcher.

    If `checkpoints` hold a state of the same training, training resumes after it and gives the same bits.

    Args:
        training: the networks.
        data: images of the size after enlarging.
        checkpoints: where states are saved every SAVE_STEPS steps.
        observer: called with the number of finished steps and the losses after each step.
        watcher: measures the generator at each checkpoint.

    Raises:
        FloatingPointError, ValueError: as `GeneratorTraining.step` and `stream_crops`.
    """
    settings, rows = training.settings, list[Losses]()
    saved = checkpoints.of("generator", dataclasses.asdict(settings), training.batch_size, data.identity())
    state, start = saved.latest(), 0
    if state:
        start, rows = state.number, state.facts["rows"]
        variables.write_variables(training.changing, [state.arrays[str(n)] for n in range(len(training.changing))])
        log.info("super-resolution: resuming after step %d", start)
        if watcher:
            for row in rows:
                watcher.record(row, restored=True)
    recent: list[Losses] = []
    batches = stream_crops(data, settings, training.batch_size, start).take(settings.steps - start)
    for number, crops in enumerate(batches.as_numpy_iterator(), start):
        recent.append(training.step(number, crops))
        if (number + 1) % SAVE_STEPS == 0 or number + 1 == settings.steps:
            rows.append({**_mean(number + 1, recent), **(watcher.validate(training.averaged) if watcher else {})})
            if watcher:
                watcher.record(rows[-1], restored=False)
            recent = []
            values = variables.read_variables(training.changing)
            saved.save(number + 1, {str(n): value for n, value in enumerate(values)}, {"rows": rows}, keep=False)
            log.info("super-resolution: step %d of %d, pixel loss %.5f", number + 1, settings.steps, rows[-1]["pixel"])
        if observer:
            observer(number + 1, recent[-1] if recent else rows[-1])
    return training.averaged, rows


def _mean(step: int, losses: list[Losses]) -> Losses:
    last = losses[-1]
    return {"step": step, **{name: float(np.mean([each.get(name, 0.0) for each in losses])) for name in last}}
