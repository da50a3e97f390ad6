"""The card that leads from a run's page in KFP to its TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path

BESIDE_TENSORFLOW = (
    "TensorBoard reads nothing from s3:// where TensorFlow is installed beside it: `pip install tensorboard boto3` "
    "into an environment of its own, or take Radiograft's TensorBoard image."
)


def write_card(uri: str, run_id: str, card: Path, button: Path) -> None:
    """Writes the card as Markdown, and the JSON that full Kubeflow's UI makes its TensorBoard button of.

    Args:
        uri: of one task's logs.
        run_id: the pipeline run's, which KFP makes a folder of for all that the run writes.
    """
    before, found, _ = uri.partition(f"/{run_id}/")
    logs = readable_uri(f"{before}/{run_id}" if found else uri)
    paragraphs = (
        "# TensorBoard",
        "Curves, figures and features of all tasks of this run lie below",
        f"    {logs}",
        "Whoever may read that place sees them at http://localhost:6006 after",
        f"    {tensorboard_command(logs)}",
        credentials_hint(logs),
        "Radiograft's manifests also run a TensorBoard over all runs, the service `radiograft-tensorboard`.",
    )
    card.write_text("\n\n".join(filter(None, paragraphs)) + "\n", encoding="utf-8")
    button.write_text(json.dumps({"outputs": [{"type": "tensorboard", "source": logs}]}))


def readable_uri(uri: str) -> str:
    """The place as TensorBoard names it; `minio://` is KFP's word for its own S3 store."""
    return uri.replace("minio://", "s3://", 1)


def tensorboard_command(logs: str) -> str:
    """What shows the logs anywhere that may read them."""
    return f"tensorboard --load_fast=false --logdir {logs}"


def credentials_hint(logs: str) -> str:
    """What the command needs beside the right to read; empty for nothing."""
    return BESIDE_TENSORFLOW if logs.startswith("s3://") else ""
