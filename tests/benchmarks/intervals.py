"""Metrics with intervals on as many images as NIH has.

`python -m tests.benchmarks.intervals labels` computes those of labels once, `... classes` those of exclusive classes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from radiograft.metrics.class_decisions import ExclusiveClasses
from radiograft.metrics.multilabel import evaluate_predictions
from tests.benchmarks import peak
from tests.benchmarks.row import Row

IMAGES, PATIENTS, RESAMPLES = 112_120, 30_805, 1000
# Prevalence of the 14 findings in NIH's table.
PREVALENCES = (0.103, 0.025, 0.119, 0.177, 0.052, 0.056, 0.013, 0.047, 0.042, 0.021, 0.022, 0.015, 0.030, 0.002)
MAX_SECONDS, MAX_MEGABYTES = 60.0, 2000.0


def measure(work: Path) -> list[Row]:
    """Measures time and peak memory in separate processes, compared with their limits."""
    (seconds, megabytes), (of_classes, _) = (_measure_process(kind) for kind in ("labels", "classes"))
    how = (
        f"{IMAGES:,} predictions of {PATIENTS:,} patients, {len(PREVALENCES)} labels, {RESAMPLES:,} bootstrap "
        "samples of patients. Theirs: the limit."
    )
    exclusive = how.replace("labels", "exclusive classes with their confusion matrix")
    return [
        Row.cost("intervals", seconds, MAX_SECONDS, floor=1.0, unit="s", how=how),
        Row.cost("intervals of classes", of_classes, MAX_SECONDS, floor=1.0, unit="s", how=exclusive),
        Row.cost("intervals memory", megabytes, MAX_MEGABYTES, floor=1.0, unit="MB", how=how),
    ]


def _measure_process(kind: str) -> tuple[float, float]:
    """Returns seconds and peak memory in MB of a process that evaluates `labels` or `classes`."""
    command = [sys.executable, "-m", "tests.benchmarks.intervals", kind]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    seconds, megabytes = (float(number) for number in printed[-2:])
    return seconds, megabytes


def _predictions() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    columns: dict[str, object] = {
        "image_id": [f"{number:08d}.png" for number in range(IMAGES)],
        "patient_id": generator.integers(PATIENTS, size=IMAGES).astype(str),
    }
    for label, prevalence in enumerate(PREVALENCES):
        truth = (generator.random(IMAGES) < prevalence).astype(float)
        columns[f"label:{label}"] = truth
        columns[f"score:{label}"] = 1 / (1 + np.exp(2 - 1.2 * truth - generator.normal(size=IMAGES)))
    return pd.DataFrame(columns)


def _class_predictions() -> pd.DataFrame:
    """Returns predictions of as many exclusive classes as there are findings, with their relative frequencies."""
    generator = np.random.default_rng(0)
    truth = generator.choice(len(PREVALENCES), IMAGES, p=np.divide(PREVALENCES, sum(PREVALENCES)))
    odds = np.exp(generator.normal(size=(IMAGES, len(PREVALENCES))) + 1.5 * np.eye(len(PREVALENCES))[truth])
    scores = odds / odds.sum(axis=1, keepdims=True)
    columns = {f"label:{label}": (truth == label).astype(float) for label in range(len(PREVALENCES))}
    columns |= {f"score:{label}": scores[:, label] for label in range(len(PREVALENCES))}
    return _predictions()[["image_id", "patient_id"]].assign(**columns)


if __name__ == "__main__":
    exclusive = ExclusiveClasses("0", ordered=True) if sys.argv[1:] == ["classes"] else None
    predictions = _class_predictions() if exclusive else _predictions()
    labels = [str(label) for label in range(len(PREVALENCES))]
    start = time.perf_counter()
    evaluate_predictions(predictions, labels, dict.fromkeys(labels, 0.2), RESAMPLES, seed=0, classes=exclusive)
    elapsed = time.perf_counter() - start
    print(elapsed, peak.megabytes())
