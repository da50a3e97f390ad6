"""TensorBoard curves number epochs as the log does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from radiograft.training.tensorboard_curves import TensorBoardCurves


@pytest.mark.parametrize(("run", "tag"), [("train", "epoch_loss"), ("validation", "epoch_auroc")])
def test_add_uses_epoch_number_as_step(tmp_path: Path, run: str, tag: str) -> None:
    """Fails if the curves are shifted by one epoch relative to the log."""
    curves = TensorBoardCurves(tmp_path)
    for epoch in (1, 2, 3):
        curves.add({"epoch": epoch, "loss": 1 / epoch, "val_auroc": 0.9})
    curves.close()
    events = EventAccumulator(str(tmp_path / run), size_guidance={"tensors": 0})
    events.Reload()
    assert [event.step for event in events.Tensors(tag)] == [1, 2, 3]
