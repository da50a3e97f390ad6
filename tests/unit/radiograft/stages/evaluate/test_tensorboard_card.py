"""The TensorBoard card of a run: location of the logs, and metadata for the button of the full Kubeflow UI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from radiograft.reporting import tensorboard_card

RUN = "5d8b2c1e-0c3f-4a57-9a7e-1f2d3c4b5a69"


@pytest.mark.parametrize(
    ("uri", "logs"),
    [
        (f"gs://bucket/root/pipeline/{RUN}/evaluate/0f1e/logs", f"gs://bucket/root/pipeline/{RUN}"),
        (f"minio://mlpipeline/v2/artifacts/p/{RUN}/Evaluate/0f1e/logs", f"s3://mlpipeline/v2/artifacts/p/{RUN}"),
        (f"s3://bucket/{RUN}/a/{RUN}/logs", f"s3://bucket/{RUN}"),
        (f"/home/me/runs/{RUN}/artifacts/p/evaluate/logs", f"/home/me/runs/{RUN}"),
        ("gs://bucket/elsewhere/logs", "gs://bucket/elsewhere/logs"),
    ],
)
def test_write_card_names_log_folder_of_run(tmp_path: Path, uri: str, logs: str) -> None:
    tensorboard_card.write_card(uri, RUN, tmp_path / "card", tmp_path / "button")
    lines = (tmp_path / "card").read_text().splitlines()
    assert lines[0] == "# TensorBoard"
    assert [line for line in lines if line.startswith("    ")] == [
        f"    {logs}",
        f"    tensorboard --load_fast=false --logdir {logs}",
    ]
    assert any(line.startswith("TensorBoard cannot read s3://") for line in lines) == logs.startswith("s3://")
    assert json.loads((tmp_path / "button").read_text()) == {"outputs": [{"type": "tensorboard", "source": logs}]}
