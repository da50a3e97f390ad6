"""Labels and scores for the tests of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from numpy.typing import ArrayLike

UNKNOWN = float("nan")


@st.composite
def scored_images(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Draws labels of both classes and scores with frequent ties."""
    truth = [0.0, 1.0, *draw(st.lists(st.sampled_from([0.0, 1.0]), max_size=40))]
    score = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32))
    return truth, draw(st.lists(score, min_size=len(truth), max_size=len(truth)))


def each_its_own_patient(images: int) -> list[str]:
    return [f"patient {i:05d}" for i in range(images)]


def frame(patients: list[str], **labels: tuple[list[float], list[float]]) -> pd.DataFrame:
    columns: dict[str, Any] = {"image_id": [f"{i}.png" for i in range(len(patients))], "patient_id": patients}
    for name, (truth, scores) in labels.items():
        columns |= {f"label:{name}": truth, f"score:{name}": scores}
    return pd.DataFrame(columns)


def noisy_scores(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = (generator.random(images) < 0.3).astype(float)
    return truth, 1 / (1 + np.exp(-generator.normal(1.5 * truth - 1)))


def class_frame(names: Sequence[str], truth: ArrayLike, scores: ArrayLike) -> pd.DataFrame:
    """Returns predictions of exclusive classes, each image of its own patient.

    Args:
        truth: (n,) class indices; -1 for unknown, whose labels are NaN.
        scores: (n, classes).
    """
    indices, distribution = np.asarray(truth), np.asarray(scores, dtype=float)
    columns: dict[str, object] = {
        "image_id": [f"{number}.png" for number in range(len(indices))],
        "patient_id": each_its_own_patient(len(indices)),
    }
    for index, name in enumerate(names):
        columns[f"label:{name}"] = np.where(indices < 0, UNKNOWN, indices == index)
        columns[f"score:{name}"] = distribution[:, index]
    return pd.DataFrame(columns)
