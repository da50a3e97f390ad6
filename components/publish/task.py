"""Publish: puts the fine-tuned model into the registry as a numbered, immutable version. Needs no TensorFlow."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from components.config import Publish
from components.publish import registry
from components.stage import log

PACKAGES = ("radiograft", "keras", "tensorflow", "tensorflow-cpu", "numpy", "kfp")


class Inputs(NamedTuple):
    """The model's folder (components.modeling.artifact), the evaluation's folder and the report's file."""

    model: Path
    evaluation: Path
    report: Path


def run(settings: Publish, inputs: Inputs, run_id: str, output: Path) -> int:
    """Publishes the model with its evaluation and returns the version's number.

    Args:
        run_id: the pipeline run's id; a second attempt of the same run completes the version of the first.
        output: file that will hold the version, its URI and the lineage as JSON.
    """
    metrics = json.loads((inputs.evaluation / "metrics.json").read_text(encoding="utf-8"))
    number = registry.claim(settings.publish_registry, settings.publish_model_name, run_id)
    lineage = {**metrics["lineage"], "run_id": run_id, "packages": _packages()}
    with tempfile.TemporaryDirectory() as folder:
        files = _files(inputs, Path(folder), metrics, lineage)
        facts = {
            "model": settings.publish_model_name,
            "created": datetime.datetime.now(datetime.UTC).isoformat(),
        }
        uri = registry.write_version(settings.publish_registry, settings.publish_model_name, number, files, facts)
    log.info("published %s version %d at %s", settings.publish_model_name, number, uri)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(
        json.dumps(
            {"model": settings.publish_model_name, "version": number, "uri": uri, "lineage": lineage},
            indent=2,
        )
    )
    return number


def _files(inputs: Inputs, folder: Path, metrics: dict[str, Any], lineage: dict[str, Any]) -> dict[str, Path]:
    """The version's files by name: the SavedModel at its root, the Keras model, contract, metrics, report, lineage."""
    contract = json.loads((inputs.model / "contract.json").read_text())
    contract["thresholds"] = metrics["thresholds"]["fine_tuning"]
    for name, content in {"contract.json": contract, "lineage.json": lineage}.items():
        (folder / name).write_text(json.dumps(content, indent=2))
    saved_model = inputs.model / "saved_model"
    return {
        **{path.relative_to(saved_model).as_posix(): path for path in saved_model.rglob("*") if path.is_file()},
        "model.keras": inputs.model / "model.keras",
        "contract.json": folder / "contract.json",
        "metrics.json": inputs.evaluation / "metrics.json",
        "predictions.parquet": inputs.evaluation / "predictions.parquet",
        "report.html": inputs.report,
        "lineage.json": folder / "lineage.json",
    }


def _packages() -> dict[str, str]:
    """Installed versions of what made the model."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
