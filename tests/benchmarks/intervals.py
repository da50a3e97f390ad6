"""Metrics with intervals on as many images as NIH has. `python -m tests.benchmarks.intervals` computes them once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from radiograft.metrics.multilabel import evaluate_predictions
from tests.benchmarks import peak
from tests.benchmarks.row import Row

IMAGES, PATIENTS, RESAMPLES = 112_120, 30_805, 1000
# Prevalence of the 14 findings in NIH's table.
PREVALENCES = (0.103, 0.025, 0.119, 0.177, 0.052, 0.056, 0.013, 0.047, 0.042, 0.021, 0.022, 0.015, 0.030, 0.002)
MAX_SECONDS, MAX_MEGABYTES = 60.0, 2000.0


def measure(work: Path) -> list[Row]:
    """Measures time and peak memory in a separate process, compared with their limits."""
    command = [sys.executable, "-m", "tests.benchmarks.intervals"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    seconds, megabytes = (float(number) for number in printed[-2:])
    how = (
        f"{IMAGES:,} predictions of {PATIENTS:,} patients, {len(PREVALENCES)} labels, {RESAMPLES:,} bootstrap "
        "samples of patients. Theirs: the limit."
    )
    return [
        Row.cost("intervals", seconds, MAX_SECONDS, floor=1.0, unit="s", how=how),
        Row.cost("intervals memory", megabytes, MAX_MEGABYTES, floor=1.0, unit="MB", how=how),
    ]


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


if __name__ == "__main__":
    predictions = _predictions()
    labels = [str(label) for label in range(len(PREVALENCES))]
    start = time.perf_counter()
    evaluate_predictions(predictions, labels, dict.fromkeys(labels, 0.2), RESAMPLES, seed=0)
    elapsed = time.perf_counter() - start
    print(elapsed, peak.megabytes())
