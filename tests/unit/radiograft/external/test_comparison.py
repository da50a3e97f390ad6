"""Loss of AUROC between independent samples, and the AUROC on corrupted images."""

from __future__ import annotations

import numpy as np
import pytest

from radiograft.external.comparison import compare_aurocs, measure_robustness
from radiograft.external.prediction import Corrupted, variants
from radiograft.metrics import delong
from tests.helpers.samples import each_its_own_patient, frame, noisy_scores

SAMPLES = 400


def test_compare_aurocs_interval_agrees_with_independent_delong_variances() -> None:
    """For independent samples the variance of the difference is the sum of the variances."""
    (truth, scores), (other_truth, other_scores) = noisy_scores(400, seed=1), noisy_scores(300, seed=2)
    internal = frame(each_its_own_patient(400), Mass=(truth.tolist(), scores.tolist()))
    external = frame(each_its_own_patient(300), Mass=(other_truth.tolist(), other_scores.tolist()))
    loss = compare_aurocs(internal, external, ["Mass"], 2000, seed=0)["labels"]["Mass"]["loss"]
    one, other = delong.auroc_interval(truth, scores), delong.auroc_interval(other_truth, other_scores)
    half = np.hypot(one["high"] - one["low"], other["high"] - other["low"]) / 2  # type: ignore[operator]
    assert loss["value"] == pytest.approx(one["value"] - other["value"])  # type: ignore[operator]
    assert loss["high"] - loss["low"] == pytest.approx(2 * half, rel=0.1)  # type: ignore[operator]


def test_compare_aurocs_mean_is_over_the_given_labels() -> None:
    truth = [1.0, 0.0] * 20
    internal = frame(each_its_own_patient(40), Mass=(truth, truth), Edema=(truth, [0.5] * 40))
    external = frame(each_its_own_patient(40), Mass=(truth, [0.5] * 40), Edema=(truth, [0.5] * 40))
    compared = compare_aurocs(internal, external, ["Mass", "Edema"], SAMPLES, seed=0)
    assert compared["labels"]["Mass"]["loss"]["value"] == 0.5
    assert compared["mean"] is not None
    assert compared["mean"]["internal"]["value"] == 0.75
    assert compared["mean"]["external"]["value"] == 0.5
    assert compared["mean"]["loss"]["value"] == 0.25
    # No resample changes these AUROCs, so the intervals are exact: Newcombe's for the difference.
    assert compared["labels"]["Mass"]["loss"]["method"] == "Newcombe"


def test_compare_aurocs_no_common_label_has_no_mean() -> None:
    empty = frame(["a", "b"], Mass=([1.0, 0.0], [0.5, 0.5]))
    assert compare_aurocs(empty, empty, [], SAMPLES, seed=0) == {"labels": {}, "mean": None}


def test_compare_aurocs_single_external_patient_has_no_interval() -> None:
    truth, scores = noisy_scores(60)
    internal = frame(each_its_own_patient(60), Mass=(truth.tolist(), scores.tolist()))
    external = frame(["a", "a"], Mass=([1.0, 0.0], [0.9, 0.1]))
    loss = compare_aurocs(internal, external, ["Mass"], SAMPLES, seed=0)["labels"]["Mass"]
    assert loss["external"] == {"value": 1.0, "low": None, "high": None}
    assert loss["loss"]["low"] is None
    assert loss["loss"]["value"] is not None


def test_measure_robustness_mean_is_over_corruptions_at_each_severity() -> None:
    truth = np.array([1.0, 0.0] * 30)
    patients = each_its_own_patient(60)

    def predictions(strength: float) -> object:
        scores = 0.5 + (truth - 0.5) * (1 - strength)  # perfect below 1, equal at 1
        return frame(patients, Mass=(truth.tolist(), scores.tolist()))

    corrupted = [
        Corrupted(name, severity, predictions(float(name == "pixelate" and severity == 5)))  # type: ignore[arg-type]
        for name, severity in variants("tissuemnist")
    ]
    robustness = measure_robustness("tissuemnist", predictions(0.0), corrupted, ["Mass"], SAMPLES, seed=0)  # type: ignore[arg-type]
    assert [estimate["value"] for estimate in robustness["corruptions"]["pixelate"]] == [1, 1, 1, 1, 1, 0.5]
    assert [estimate["value"] for estimate in robustness["mean"]] == [1, 1, 1, 1, 1, pytest.approx(1 - 0.5 / 8)]
    assert robustness["severities"] == [0, 1, 2, 3, 4, 5]
