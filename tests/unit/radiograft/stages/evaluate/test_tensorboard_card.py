"""The TensorBoard card of a run: KFP's UI metadata with a button and instructions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from radiograft.reporting import tensorboard_card


@pytest.mark.parametrize(
    ("uri", "logs"),
    [
        ("gs://bucket/artifacts/run/evaluate/0f1e/tensorboard", "gs://bucket/artifacts/run/evaluate/0f1e/tensorboard"),
        ("minio://mlpipeline/v2/run/tensorboard", "s3://mlpipeline/v2/run/tensorboard"),
        ("/home/me/runs/evaluate/tensorboard", "/home/me/runs/evaluate/tensorboard"),
    ],
)
def test_write_card_has_button_and_instructions(tmp_path: Path, uri: str, logs: str) -> None:
    tensorboard_card.write_card(uri, tmp_path / "metadata")
    button, card = json.loads((tmp_path / "metadata").read_text())["outputs"]
    assert button == {"type": "tensorboard", "source": logs}
    assert (card["type"], card["storage"]) == ("markdown", "inline")
    lines = card["source"].splitlines()
    assert lines[0] == "# TensorBoard"
    assert [line for line in lines if line.startswith("    ")] == [
        f"    {logs}",
        f"    tensorboard --load_fast=false --logdir {logs}",
    ]
    assert any(line.startswith("TensorBoard cannot read s3://") for line in lines) == logs.startswith("s3://")
