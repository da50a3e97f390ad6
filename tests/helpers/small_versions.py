"""Publishes versions of small networks."""

from __future__ import annotations

import json
from pathlib import Path

import tensorflow as tf

from radiograft.config import Publish
from radiograft.evaluation.predictions import write_golden_predictions
from radiograft.models import artifact
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.stages.publish import task
from radiograft.storage import checksums
from tests.helpers.killed_stage import small_network
from tests.helpers.publish_inputs import METRICS, PASSED

SIZE = 32


def publish_small(place: str, folder: Path, seed: int, **gate: object) -> None:
    """Publishes a version of a small network with random weights."""
    network = small_network(folder / "model", SIZE, ("Pneumonia", "Mass"), seed)
    model = artifact.load_model(network)
    artifact.export_saved_model(model, ModelSpec.read(network), network / "saved_model")
    write_golden_predictions(Predictor(model, tf.distribute.get_strategy()), folder / "evaluation")
    lineage = METRICS["lineage"] | {"settings": METRICS["lineage"]["settings"] | {"train_seed": seed}}
    metrics = METRICS | {
        "gate": PASSED | gate,
        "lineage": lineage,
        "thresholds": {"fine_tuning": {"Pneumonia": 0.0001}},
    }
    (folder / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    (folder / "report.html").write_text("<!doctype html>")
    checksums.write_checksum_of_file(folder / "report.html", folder / "evaluation")
    inputs = task.PublishInputs(network, folder / "evaluation", folder / "report.html")
    task.run(Publish(publish_registry=place), inputs, f"run-{seed}", folder / "version")
