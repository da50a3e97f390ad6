"""The inputs of publish, with text instead of networks, because publishing does not load TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from radiograft.models.spec import ModelSpec
from radiograft.stages.publish import task
from radiograft.storage import checksums

SETTINGS = {"image_size": 64, "model_backbone": "densenet121", "train_optimizer": "adam", "train_seed": 3}
PASSED = {"promote": True, "reasons": ["the lower bound is above the floor"], "champion": None}
SPEC = ModelSpec(
    image_size=64,
    labels=("Pneumonia",),
    backbone="densenet121",
    weights="imagenet",
    cut_off="conv5_block16_2_conv",
    strategy="fine_tuning",
)


def _estimate(value: float | None) -> dict[str, float | None]:
    return {"value": value, "low": value and value - 0.1, "high": value and value + 0.05}


LABEL = {
    "n_images": 40,
    "positives": 12,
    "auroc": _estimate(0.8),
    "average_precision": _estimate(0.7),
    "accuracy": _estimate(0.72),
    "majority_accuracy": 0.7,
    "sensitivity": _estimate(0.9),
    "specificity": _estimate(0.6),
    "ppv": _estimate(0.53),
    "npv": _estimate(0.91),
    "f1": _estimate(0.67),
    "brier": _estimate(0.18),
    "threshold": 0.75,
}
SPLIT = {"n_images": 40, "n_patients": 30, "labels": {"Pneumonia": LABEL}, "mean": LABEL}
METRICS: dict[str, Any] = {
    "published": "fine_tuning",
    "thresholds": {"feature_extraction": {"Pneumonia": 0.25}, "fine_tuning": {"Pneumonia": 0.75}},
    "metrics": {"fine_tuning": {"validation": SPLIT, "test": SPLIT}},
    "kept_epochs": {"feature_extraction": 5, "fine_tuning": 3},
    "warnings": [],
    "judged_on": "test",
    "data": {
        "splits": {
            "train": {"pictures": 1200, "patients": 900, "positives": {"Pneumonia": 300}},
            "test": {"pictures": 40, "patients": 30, "positives": {"Pneumonia": 12}},
        },
        "excluded": [{"reason": "empty file", "count": 2, "examples": ["a.png", "b.png"]}],
        "converted": {"RGBA": 4},
        "notes": ["each image counts as a patient"],
    },
    "lineage": {"source": "gs://hospital/films", "fingerprint": "4f" * 32, "settings": SETTINGS},
    "gate": PASSED,
}
FILES = {
    "model/history.json": "{}",
    "model/model.keras": "keras",
    "model/saved_model/fingerprint.pb": "fingerprint",
    "model/saved_model/saved_model.pb": "graph",
    "model/saved_model/variables/variables.index": "index",
    "evaluation/metrics.json": json.dumps(METRICS),
    "evaluation/predictions.parquet": "predictions",
    "evaluation/sample/0.png": "picture",
    "report.html": "<!doctype html>",
}


def write_inputs(folder: Path, *, model: str = "keras", **gate: Any) -> task.PublishInputs:
    """Writes the output files of fine_tune and evaluate.

    Args:
        model: content of model.keras.
        gate: differences from a model that passed the gate without a production version.
    """
    changed = {"model/model.keras": model, "evaluation/metrics.json": json.dumps(METRICS | {"gate": PASSED | gate})}
    for name, content in (FILES | changed).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    SPEC.write(folder / "model")
    checksums.write_checksum_of_file(folder / "report.html", folder / "evaluation")
    return task.PublishInputs(folder / "model", folder / "evaluation", folder / "report.html")
