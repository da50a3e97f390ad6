"""Learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence

from radiograft.config.recipe import Recipe

# CheXNet divides the rate by ten when the validation loss plateaus, and weights the classes (Rajpurkar et al. 2017).
PLATEAU_FACTOR = 0.1
PLATEAU_EPOCHS = 2  # without a lower validation loss; the paper names no number


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
