"""How a specialist trains, as data: schedule, warm-up, layer-wise rates, averaging, clipping, smoothing, weights."""

from __future__ import annotations

import dataclasses

from radiograft.config.base import Scalar, Settings, setting


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
