"""How a specialist trains, as data: schedule, warm-up, layer-wise rates, averaging, clipping, smoothing, weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from radiograft.config.base import Scalar, Settings, setting

# CheXNet divides the rate by ten when the validation loss plateaus, and weights the classes (Rajpurkar et al. 2017).
PLATEAU_FACTOR = 0.1
PLATEAU_EPOCHS = 2  # without a lower validation loss; the paper names no number


@dataclasses.dataclass(frozen=True)
class Recipe(Settings):
    """The defaults are the poster's plain training at a constant rate."""

    schedule: str = setting(
        "constant", "How the learning rate goes on after warm-up.", choices=("constant", "cosine", "plateau")
    )
    warm_up: float = setting(0.0, "Part of all steps in which the rate climbs from zero.", low=0.0, high=0.5)
    layer_decay: float = setting(
        1.0,
        "Factor on the rate from a trainable layer to the one before it, 1 in the classifier.",
        low=0.1,
        high=1.0,
    )
    ema: float = setting(
        0.0, "Momentum of the moving average of the weights that is judged and kept; 0: none.", low=0.0, high=0.99999
    )
    clip_norm: float = setting(0.0, "Largest norm of all gradients together; 0: unbounded.", low=0.0, high=1000.0)
    label_smoothing: float = setting(0.0, "Truth is drawn this far from 0 and 1 to a half.", low=0.0, high=0.5)
    loss_weights: str = setting(
        "none", "`balanced` gives present and absent of each label equal weight.", choices=("none", "balanced")
    )


PRESETS: dict[str, dict[str, Scalar]] = {
    "poster": {},
    "chexnet": {"schedule": "plateau", "loss_weights": "balanced"},
}


def learning_rate(recipe: Recipe, highest: float, step: int, steps: int, val_losses: Sequence[float]) -> float:
    """The rate of one step.

    Args:
        highest: the rate after warm-up.
        step: counted from 0 over all epochs; `steps`: of all epochs.
        val_losses: what is minimised, on validation, before training and after each epoch that has ended.

    A pure function of what a checkpoint holds, so that a resumed training goes on with the same rates. Cosine:
    Loshchilov and Hutter 2017, `highest / 2 x (1 + cos(pi x part))` without restarts.
    """
    warm = round(recipe.warm_up * steps)
    if step < warm:
        return highest * (step + 1) / warm
    if recipe.schedule == "cosine":
        return highest / 2 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))
    if recipe.schedule == "plateau":
        return highest * PLATEAU_FACTOR ** plateaus(val_losses)
    return highest


def plateaus(losses: Sequence[float]) -> int:
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
