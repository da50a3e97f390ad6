"""Card on the KFP page of a run that shows how to open its TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path

S3_HINT = (
    "TensorBoard cannot read s3:// if TensorFlow is installed in the same environment. Run `pip install tensorboard "
    "boto3` in a separate environment, or use Radiograft's TensorBoard image."
)


def write_card(uri: str, file: Path) -> None:
    """Writes the card as KFP's UI metadata: a TensorBoard button, which the full Kubeflow shows, and instructions.

    Args:
        uri: URI of the TensorBoard logs of the run.
        file: JSON file to write. KFP recognizes it by the name of its artifact, `mlpipeline_ui_metadata`.
    """
    logs = readable_uri(uri)
    paragraphs = (
        "# TensorBoard",
        "The curves, images and embeddings of this run are stored in",
        f"    {logs}",
        "With read access to that location, run the following command and open http://localhost:6006:",
        f"    {tensorboard_command(logs)}",
        credentials_hint(logs),
        "Radiograft's manifests also deploy a TensorBoard for all runs: the service `radiograft-tensorboard`.",
    )
    card = {"type": "markdown", "storage": "inline", "source": "\n\n".join(filter(None, paragraphs)) + "\n"}
    file.write_text(json.dumps({"outputs": [{"type": "tensorboard", "source": logs}, card]}), encoding="utf-8")


def readable_uri(uri: str) -> str:
    """Returns the URI in the form that TensorBoard accepts; KFP uses `minio://` for its own S3 store."""
    return uri.replace("minio://", "s3://", 1)


def tensorboard_command(logs: str) -> str:
    """Returns the command that shows the logs."""
    return f"tensorboard --load_fast=false --logdir {logs}"


def credentials_hint(logs: str) -> str:
    """Returns what the command needs besides read access, or an empty string."""
    return S3_HINT if logs.startswith("s3://") else ""
