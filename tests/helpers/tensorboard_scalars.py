"""Reads curves with TensorBoard's reader."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]


def scalars(folder: Path, prefixes: tuple[str, ...] = ("epoch_", "cut_off_curve/")) -> dict[str, list[float]]:
    """Returns the values of every curve of a run by tag, in order of step, of the tags with these prefixes."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if tag.startswith(prefixes)
    }
