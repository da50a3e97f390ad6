"""Reads curves and sessions of the HParams tab with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata


def scalars(folder: Path, prefixes: tuple[str, ...] = ("epoch_", "cut_off_curve/")) -> dict[str, list[float]]:
    """Returns the values of every curve of a run by tag, in order of step, of the tags with these prefixes."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if tag.startswith(prefixes)
    }


def read_hparams(folder: Path, metric: str) -> tuple[dict[str, object], float]:
    """Returns the values of the session in a folder, and the last value of a metric."""
    events = EventAccumulator(str(folder)).Reload()
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    session = metadata.parse_session_start_info_plugin_data(content)
    values = {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in session.hparams.items()}
    return values, float(tf.make_ndarray(events.Tensors(metric)[-1].tensor_proto))
