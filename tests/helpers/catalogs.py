"""Catalog rows and predictions for the tests of subgroups and shortcuts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from radiograft.evaluation.subgroups import EvaluatedSplit


def catalog(images: int, seed: int = 0, split: str = "test") -> pd.DataFrame:
    """Returns rows in which no metadata predicts Mass, with two images per patient."""
    generator = np.random.default_rng(seed)
    patients = np.arange(images) // 2
    women, ages = generator.random(images) < 0.5, generator.integers(5, 95, images)
    return pd.DataFrame(
        {
            "image_id": [f"{split}{i}.png" for i in range(images)],
            "uri": [f"gs://bucket/nih/images_{1 + i % 2:03d}/images/{split}{i}.png" for i in range(images)],
            "bytes": generator.integers(50_000, 60_000, images),
            "pixels": 1024 * 1024,
            "patient_id": [f"{split}{patient}" for patient in patients],
            "view": pd.array(np.where(generator.random(images) < 0.5, "AP", "PA"), dtype="string"),
            "age": ages[patients].astype(float),
            "sex": pd.array(np.where(women[patients], "F", "M"), dtype="string"),
            "split": split,
            "label:Mass": (generator.random(images) < 0.4).astype(float),
        }
    )


def simulate_predictions(rows: pd.DataFrame, gain: float | Sequence[float] = 1.5, seed: int = 9) -> EvaluatedSplit:
    """Returns predictions for Mass whose logits are higher by `gain` if it is present."""
    noise = np.random.default_rng(seed).normal(size=len(rows))
    scores = 1 / (1 + np.exp(-(np.asarray(gain) * (rows["label:Mass"] - 0.5) + noise)))
    predictions = rows[["image_id", "patient_id", "split", "label:Mass"]].assign(**{"score:Mass": scores})
    return EvaluatedSplit(predictions, rows, {"Mass": 0.5}, ["Mass"])
