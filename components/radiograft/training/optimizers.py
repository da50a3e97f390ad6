"""Optimizers with layer-wise learning rates and gradient clipping across all GPUs, and learning-rate schedules."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import keras
from keras import ops

from radiograft.config.training import Recipe
from radiograft.models import variables
from radiograft.models.keras_internals import GradientHooks

SGD_MOMENTUM = 0.9

# CheXNet divides the rate by ten when the validation loss plateaus, and weights the classes (Rajpurkar et al. 2017).
PLATEAU_FACTOR = 0.1
PLATEAU_EPOCHS = 2  # without a lower validation loss; the paper names no number


class _LayerwiseOptimizer(GradientHooks):
    """Mixin that steps each variable at its own rate, after clipping the gradients summed over all devices.

    Keras clips on each device before it sums the gradients, so its result depends on the number of devices.

    Attributes:
        rates: factor on the learning rate of each variable.
        max_norm: largest norm of all gradients together; 0 does not clip.
    """

    rates: list[float]
    max_norm: float

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = self.rates[self.variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * rate)  # type: ignore[misc]

    def change_gradients(self, gradients: list[Any]) -> list[Any]:
        return _clip(gradients, self.max_norm) if self.max_norm else gradients


class LayerwiseAdam(_LayerwiseOptimizer, keras.optimizers.Adam):  # type: ignore[misc]
    """Adam with a rate for each layer."""


class LayerwiseAdamW(_LayerwiseOptimizer, keras.optimizers.AdamW):  # type: ignore[misc]
    """AdamW with a rate for each layer; weight decay follows the common rate."""


class LayerwiseRMSprop(_LayerwiseOptimizer, keras.optimizers.RMSprop):  # type: ignore[misc]
    """RMSprop with a rate for each layer."""


class LayerwiseSGD(_LayerwiseOptimizer, keras.optimizers.SGD):  # type: ignore[misc]
    """Gradient descent with a rate for each layer."""


OPTIMIZERS: dict[str, type[Any]] = {  # by train_optimizer
    "adam": LayerwiseAdam,
    "adamw": LayerwiseAdamW,
    "rmsprop": LayerwiseRMSprop,
    "sgd": LayerwiseSGD,
}


def build_optimizer(
    name: str, recipe: Recipe, model: keras.Model, head: Collection[str] = ()
) -> keras.optimizers.Optimizer:
    """Builds an optimizer for the model's trainable weights; its learning rate is set before each step.

    SGD has momentum 0.9.

    Args:
        name: a key of OPTIMIZERS.
        head: names of the layers that train at the full rate, see `layerwise_rates`.
    """
    options: dict[str, Any] = {"momentum": SGD_MOMENTUM} if name == "sgd" else {}
    if recipe.ema:
        options |= {"use_ema": True, "ema_momentum": recipe.ema}
    optimizer = OPTIMIZERS[name](learning_rate=0.0, **options)
    optimizer.rates, optimizer.max_norm = layerwise_rates(model, recipe.layer_decay, head), recipe.clip_norm
    optimizer.build(model.trainable_variables)
    return optimizer


@contextlib.contextmanager
def use_ema_weights(model: keras.Model, recipe: Recipe) -> Iterator[None]:
    """Replaces the model's weights by their moving averages within the context, if the recipe has `ema`."""
    if not recipe.ema:
        yield
        return
    current = variables.read_variables(model.trainable_variables)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    yield
    variables.write_variables(model.trainable_variables, current)


def layerwise_rates(model: keras.Model, decay: float, head: Collection[str] = ()) -> list[float]:
    """Returns a factor for each trainable variable.

    It is 1 in the head, `decay` in the backbone's last trainable layer, `decay` squared in the layer before, and so on
    (ULMFiT, Howard and Ruder 2018).
    """
    layers = [variable.path.split("/")[-2] for variable in model.trainable_variables]
    backbone = [name for name in dict.fromkeys(layers) if name not in head]
    powers = {name: power for power, name in enumerate(reversed(backbone), start=1)}
    return [decay ** powers.get(name, 0) for name in layers]


def _clip(gradients: Sequence[Any], largest: float) -> list[Any]:
    """Scales all gradients so that their norm taken together is at most `largest`."""
    norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
    return [gradient * (largest / ops.maximum(norm, largest)) for gradient in gradients]


def learning_rate(recipe: Recipe, highest: float, step: int, steps: int, val_losses: Sequence[float]) -> float:
    """Returns the learning rate of one step.

    It depends only on values that a checkpoint contains, so a resumed training continues with the same rates. The
    cosine schedule has no restarts (Loshchilov and Hutter 2017).

    Args:
        recipe: schedule and warm-up.
        highest: rate after warm-up.
        step: number of the step, counted from 0 over all epochs.
        steps: number of steps in all epochs.
        val_losses: the training loss on validation, before training and after each finished epoch.
    """
    warm = round(recipe.warm_up * steps)
    if step < warm:
        return highest * (step + 1) / warm
    if recipe.schedule == "cosine":
        return highest / 2 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))
    if recipe.schedule == "plateau":
        return highest * PLATEAU_FACTOR ** count_plateaus(val_losses)
    return highest


def count_plateaus(losses: Sequence[float]) -> int:
    """Returns how often the loss did not improve for PLATEAU_EPOCHS consecutive epochs."""
    plateaus, lowest, waited = 0, math.inf, 0
    for loss in losses:
        if loss < lowest:
            lowest, waited = loss, 0
            continue
        waited += 1
        if waited == PLATEAU_EPOCHS:
            plateaus, waited = plateaus + 1, 0
    return plateaus
