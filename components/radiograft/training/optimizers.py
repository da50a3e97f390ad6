"""Optimizers by their setting's name, with what Keras's own lack: a rate for each layer, clipping over all GPUs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from radiograft.config.recipe import Recipe
from radiograft.models import variables
from radiograft.models.freezing import is_classifier

OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
SGD_MOMENTUM = 0.9

# CheXNet divides the rate by ten when the validation loss plateaus, and weights the classes (Rajpurkar et al. 2017).
PLATEAU_FACTOR = 0.1
PLATEAU_EPOCHS = 2  # without a lower validation loss; the paper names no number


def build_optimizer(name: str, recipe: Recipe, model: keras.Model) -> keras.optimizers.Optimizer:
    """An optimizer for the model's trainable weights, whose learning rate is set before each step.

    SGD has momentum 0.9. AdamW's decay of the weights goes with the common rate, not with the layer's.
    """
    kind = type(f"LayerWise{OPTIMIZERS[name].__name__}", (_LayerWise, OPTIMIZERS[name]), {})
    options = {"momentum": SGD_MOMENTUM} if name == "sgd" else {}
    if recipe.ema:
        options |= {"use_ema": True, "ema_momentum": recipe.ema}
    optimizer = kind(learning_rate=0.0, **options)
    optimizer.factors, optimizer.largest_norm = layerwise_rates(model, recipe.layer_decay), recipe.clip_norm
    optimizer.build(model.trainable_variables)
    return optimizer


@contextlib.contextmanager
def use_ema_weights(model: keras.Model, recipe: Recipe) -> Iterator[None]:
    """Inside, the model's weights are their moving averages, if the recipe keeps these."""
    if not recipe.ema:
        yield
        return
    current = variables.read_variables(model.trainable_variables)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    yield
    variables.write_variables(model.trainable_variables, current)


def layerwise_rates(model: keras.Model, decay: float) -> list[float]:
    """A factor for each trainable variable: 1 in the classifier, `decay` in the backbone's last trainable layer, its
    square in the one before, and so on (as in ULMFiT, Howard and Ruder 2018)."""
    layers = [variable.path.split("/")[-2] for variable in model.trainable_variables]
    backbone = [name for name in dict.fromkeys(layers) if not is_classifier(name)]
    powers = {name: power for power, name in enumerate(reversed(backbone), start=1)}
    return [decay ** powers.get(name, 0) for name in layers]


class _LayerWise:
    """Steps each variable at its own rate, after clipping the gradients that all devices found together."""

    factors: list[float]
    largest_norm: float

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        factor = self.factors[self._get_variable_index(variable)]  # type: ignore[attr-defined]
        super().update_step(gradient, variable, learning_rate * factor)  # type: ignore[misc]

    def _all_reduce_sum_gradients(self, pairs: Any) -> Any:
        # Keras clips before the devices' gradients are added, each device for itself, which is another training.
        reduced = super()._all_reduce_sum_gradients(pairs)  # type: ignore[misc]
        if not self.largest_norm:
            return reduced
        gradients, variables = zip(*reduced, strict=True)
        return list(zip(_clip(gradients, self.largest_norm), variables, strict=True))


def _clip(gradients: Sequence[Any], largest: float) -> list[Any]:
    """Scales all gradients so that their norm taken together is at most `largest`."""
    norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
    return [gradient * (largest / ops.maximum(norm, largest)) for gradient in gradients]


def learning_rate(recipe: Recipe, highest: float, step: int, steps: int, val_losses: Sequence[float]) -> float:
    """The rate of one step.

    Args:
        highest: the rate after warm-up.
        step: counted from 0 over all epochs; `steps`: of all epochs.
        val_losses: what is minimized, on validation, before training and after each epoch that has ended.

    A pure function of what a checkpoint holds, so that a resumed training goes on with the same rates. Cosine:
    Loshchilov and Hutter 2017, `highest / 2 x (1 + cos(pi x part))` without restarts.
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
    """How often PLATEAU_EPOCHS epochs in succession brought no lower loss."""
    found, lowest, waited = 0, math.inf, 0
    for loss in losses:
        if loss < lowest:
            lowest, waited = loss, 0
            continue
        waited += 1
        if waited == PLATEAU_EPOCHS:
            found, waited = found + 1, 0
    return found
