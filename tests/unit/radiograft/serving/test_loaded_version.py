"""Predictions from probabilities: labels that reach their threshold, or the most probable of exclusive classes."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from radiograft.models.spec import ModelSpec
from radiograft.serving.loaded_version import LoadedVersion
from radiograft.serving.predictions import Prediction, decide

INDEPENDENT = ModelSpec(32, ("a", "b", "c"), "efficientnet_lite0", "none", "", "fine_tuning", thresholds={"a": 0.5})
EXCLUSIVE = dataclasses.replace(INDEPENDENT, task="multiclass", thresholds=None)


def test_decide_independent_labels_compares_with_thresholds() -> None:
    spec = dataclasses.replace(INDEPENDENT, thresholds={"a": 0.5, "b": 0.75})
    assert decide(spec, np.float32([0.5, 0.625, 0.25])) == [
        Prediction("a", 0.5, 0.5, True),
        Prediction("b", 0.625, 0.75, False),
        Prediction("c", 0.25, None, None),
    ]


def test_decide_exclusive_classes_predicts_the_most_probable() -> None:
    predictions = decide(EXCLUSIVE, np.float32([0.25, 0.5, 0.25]))
    assert predictions == [
        Prediction("a", 0.25, None, False),
        Prediction("b", 0.5, None, True),
        Prediction("c", 0.25, None, False),
    ]
    assert LoadedVersion.labels_to_explain(predictions) == ["b"]


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
def test_decide_exclusive_classes_predicts_exactly_one(probabilities: list[float]) -> None:
    predictions = decide(EXCLUSIVE, np.float32(probabilities))
    (predicted,) = [each.probability for each in predictions if each.positive]
    assert predicted == max(probabilities)
