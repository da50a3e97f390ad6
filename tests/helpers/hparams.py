"""Reads a session of TensorBoard's HParams tab with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata


def read_hparams(folder: Path, metric: str) -> tuple[dict[str, object], float]:
    """Returns the values of the session in a folder, and the last value of a metric."""
    events = EventAccumulator(str(folder)).Reload()
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    session = metadata.parse_session_start_info_plugin_data(content)
    values = {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in session.hparams.items()}
    return values, float(tf.make_ndarray(events.Tensors(metric)[-1].tensor_proto))
