"""Training recipe: schedule, warm-up, layer-wise rates, EMA, gradient clipping, label smoothing, loss weights."""

from __future__ import annotations

import dataclasses

from radiograft.config.base import Scalar, Settings, setting


@dataclasses.dataclass(frozen=True)
class Recipe(Settings):
    """Options of the setting `train_recipe`. The defaults train at a constant rate, as in the poster."""

    schedule: str = setting(
        "constant", "Learning rate schedule after warm-up.", choices=("constant", "cosine", "plateau")
    )
    warm_up: float = setting(
        0.0, "Fraction of all steps in which the learning rate rises linearly from zero.", low=0.0, high=0.5
    )
    layer_decay: float = setting(
        1.0,
        "Layer-wise learning rate decay: factor from each trainable layer to the one before it; 1 for the classifier.",
        low=0.1,
        high=1.0,
    )
    ema: float = setting(
        0.0,
        "Momentum of the exponential moving average of the weights, which is evaluated and saved; 0 disables it.",
        low=0.0,
        high=0.99999,
    )
    clip_norm: float = setting(0.0, "Maximum global norm of the gradients; 0 disables clipping.", low=0.0, high=1000.0)
    label_smoothing: float = setting(0.0, "Label smoothing factor.", low=0.0, high=0.5)
    loss_weights: str = setting(
        "none", "`balanced` weights positives and negatives of each label equally.", choices=("none", "balanced")
    )


PRESETS: dict[str, dict[str, Scalar]] = {
    "poster": {},
    "chexnet": {"schedule": "plateau", "loss_weights": "balanced"},
}
