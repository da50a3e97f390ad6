"""Card on the KFP page of a run that shows how to open its TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path

S3_HINT = (
    "TensorBoard cannot read s3:// if TensorFlow is installed in the same environment. Run `pip install tensorboard "
    "boto3` in a separate environment, or use Radiograft's TensorBoard image."
)


def write_card(uri: str, run_id: str, card: Path, button: Path) -> None:
    """Writes the card as Markdown, and the JSON from which the full Kubeflow UI creates its TensorBoard button.

    Args:
        uri: URI of the logs of one task.
        run_id: id of the pipeline run; KFP stores all outputs of the run in a folder of this name.
        card: Markdown file to write.
        button: JSON file to write.
    """
    root, separator, _ = uri.partition(f"/{run_id}/")
    logs = readable_uri(f"{root}/{run_id}" if separator else uri)
    paragraphs = (
        "# TensorBoard",
        "The curves, images and embeddings of all tasks of this run are stored in",
        f"    {logs}",
        "With read access to that location, run the following command and open http://localhost:6006:",
        f"    {tensorboard_command(logs)}",
        credentials_hint(logs),
        "Radiograft's manifests also deploy a TensorBoard for all runs: the service `radiograft-tensorboard`.",
    )
    card.write_text("\n\n".join(filter(None, paragraphs)) + "\n", encoding="utf-8")
    button.write_text(json.dumps({"outputs": [{"type": "tensorboard", "source": logs}]}))


def readable_uri(uri: str) -> str:
    """Returns the URI in the form that TensorBoard accepts; KFP uses `minio://` for its own S3 store."""
    return uri.replace("minio://", "s3://", 1)


def tensorboard_command(logs: str) -> str:
    """Returns the command that shows the logs."""
    return f"tensorboard --load_fast=false --logdir {logs}"


def credentials_hint(logs: str) -> str:
    """Returns what the command needs besides read access, or an empty string."""
    return S3_HINT if logs.startswith("s3://") else ""
