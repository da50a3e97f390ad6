"""Drift verdicts: shifted, not shifted, and not testable."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radiograft.drift.comparison import compare_samples, describe_shift, describe_untested, drift_outcome
from radiograft.drift.evaluation_drift import drift_plots, drift_section, drift_warnings, render_drift_page
from radiograft.drift.reference import ReferenceSample, describe_rows, draw_sample
from tests.helpers.browser import audit_accessibility, needs_chromium

LABELS = ("Pneumonia", "Effusion")
TESTS = ["score", "embedding", "view", "age", "sex"]


def sample(seed: int, patients: int = 60, *, feature_shift: float = 0.0, score_shift: float = 0.0) -> ReferenceSample:
    """Two images per patient; `feature_shift` shifts the embedding, `score_shift` the scores of Effusion."""
    generator = np.random.default_rng(seed)
    images = 2 * patients
    rows = pd.DataFrame(
        {
            "patient_id": np.repeat([f"{number:05d}" for number in range(patients)], 2),
            "view": generator.choice(["AP", "PA"], images),
            "sex": np.repeat(generator.choice(["F", "M"], patients), 2),
            "age": np.repeat(generator.integers(20, 80, patients).astype(float), 2),
        }
    )
    scores = generator.uniform(0, 0.6, (images, 2)) + np.array([0, score_shift])
    return describe_rows(rows, LABELS, scores, generator.normal(feature_shift, 1, (images, 16)))


def verdicts(reference: ReferenceSample, new: ReferenceSample) -> dict[str, str]:
    return {name: test["verdict"] for name, test in compare_samples(reference, new, seed=0).drift["tests"].items()}


def test_compare_samples_same_population_detects_no_shift() -> None:
    assert verdicts(sample(1), sample(2)) == dict.fromkeys(TESTS, "no shift detected")


def test_compare_samples_single_shift_flags_only_its_test() -> None:
    reference, new = sample(1), sample(2)
    shifts = {
        "score": sample(2, score_shift=0.4),
        "embedding": sample(2, feature_shift=0.5),
        "view": dataclasses.replace(new, view=np.full(120, "AP")),
        "age": dataclasses.replace(new, age=new.age / 3),
        "sex": dataclasses.replace(new, sex=np.full(120, "F")),
    }
    for name, shifted in shifts.items():
        drift = compare_samples(reference, shifted, seed=0).drift
        assert drift["shifted"] == [name]
        assert drift["tests"][name]["p"] == pytest.approx(0.0002 * (2 if name == "score" else 1))


def test_compare_samples_one_label_shifted_is_identified() -> None:
    drift = compare_samples(sample(1), sample(2, score_shift=0.4), seed=0).drift
    assert drift["label"] == "Effusion"
    p = {name: test["p"] for name, test in drift["labels"].items()}
    assert drift["tests"]["score"]["p"] == pytest.approx(2 * p["Effusion"])  # type: ignore[operator]
    assert describe_shift(drift) == "prediction scores of Effusion"


def test_describe_shift_view_and_age() -> None:
    reference, new = sample(1, 200), sample(2, 200)
    reference = dataclasses.replace(reference, view=np.repeat(["AP", "PA"], [140, 260]), age=np.full(400, 49.0))
    new = dataclasses.replace(new, view=np.repeat(["AP", "PA"], [228, 172]), age=np.full(400, 43.0))
    drift = compare_samples(reference, new, seed=0).drift
    assert describe_shift(drift) == "view (AP from 35% to 57%), age (median from 49 to 43)"
    assert drift["shares"]["view"] == {"AP": (0.35, 0.57), "PA": (0.65, 0.43)}


def test_compare_samples_training_images_count_for_metadata_only() -> None:
    reference = sample(1)
    scores, features = reference.scores.copy(), reference.features.copy()
    scores[60:], features[60:] = np.nan, np.nan
    partial = dataclasses.replace(reference, scores=scores, features=features)
    tests = compare_samples(partial, sample(2), seed=0).drift["tests"]
    assert {name: tuple(test["reference"].values()) for name, test in tests.items()} == {
        **dict.fromkeys(("score", "embedding"), (60, 30)),
        **dict.fromkeys(("view", "age", "sex"), (120, 60)),
    }


def test_compare_samples_unknown_ages_are_omitted() -> None:
    reference, new = sample(1), sample(2)
    age = np.where(np.arange(120) < 30, np.nan, new.age).astype(np.float32)
    drift = compare_samples(reference, dataclasses.replace(new, age=age), seed=0).drift
    assert drift["tests"]["age"]["new"] == {"pictures": 90, "patients": 45}
    assert drift["tests"]["age"]["verdict"] == "no shift detected"


def test_compare_samples_unrecorded_variables_are_not_tested() -> None:
    unknown = dataclasses.replace(
        sample(2), view=np.full(120, ""), sex=np.full(120, ""), age=np.full(120, np.nan, np.float32)
    )
    for reference, new in ((sample(1), unknown), (unknown, sample(1)), (unknown, unknown)):
        comparison = compare_samples(reference, new, seed=0)
        tests = comparison.drift["tests"]
        assert [tests[name]["verdict"] for name in ("view", "age", "sex")] == ["not recorded"] * 3
        assert [tests[name]["p"] for name in ("view", "age", "sex")] == [None] * 3
        assert comparison.drift["shares"] == {"view": {}, "sex": {}}
        assert list(drift_plots(comparison, reference, new)) == ["score", "embedding"]
        json.dumps(comparison.drift, allow_nan=False)


@pytest.mark.parametrize("patients", [1, 9])
def test_compare_samples_below_ten_patients_is_not_tested(patients: int) -> None:
    for both in ((sample(1, patients), sample(2)), (sample(1), sample(2, patients))):
        comparison = compare_samples(*both, seed=0)
        assert {test["verdict"] for test in comparison.drift["tests"].values()} == {"too few patients"}
        assert comparison.drift["shifted"] == []
        drift_plots(comparison, *both)
        json.dumps(comparison.drift, allow_nan=False)


def test_drift_outcome_nothing_compared_is_no_all_clear() -> None:
    """Fails if a comparison of too few patients is reported like one that detected no shift."""
    drift = compare_samples(sample(1), sample(2, 9), seed=0).drift
    untested = "prediction scores, embedding, view, age, sex (fewer than 10 patients in one of the samples)"
    assert drift_outcome(drift) == "nothing could be compared"
    assert describe_untested(drift) == untested
    assert drift_warnings(drift) == [f"Data drift is unknown, because nothing could be compared: {untested}."]
    section = drift_section(drift, {}, "data of version 1", "new images")
    page = render_drift_page(section, title="chest", source="folder", created="2026-01-01", notes=[])
    assert "Nothing could be compared" in page
    assert untested in page
    assert "No shift was detected" not in page


def test_drift_outcome_partial_comparison_names_what_is_missing() -> None:
    new = dataclasses.replace(sample(2), age=np.full(120, np.nan, np.float32), sex=np.full(120, ""))
    drift = compare_samples(sample(1), new, seed=0).drift
    assert drift_outcome(drift) == "no shift detected"
    assert describe_untested(drift) == "age, sex (not recorded)"
    assert drift_warnings(drift) == []


def test_drift_outcome_complete_comparison() -> None:
    same, shifted = (compare_samples(sample(1), sample(2, score_shift=shift), seed=0).drift for shift in (0, 0.4))
    assert (drift_outcome(same), drift_outcome(shifted)) == ("no shift detected", "shifted")
    assert (describe_untested(same), describe_untested(shifted)) == ("", "")


def test_compare_samples_ten_patients_is_tested() -> None:
    assert "too few patients" not in verdicts(sample(1, 10), sample(2, 10)).values()


def test_compare_samples_embedding_uses_500_images_per_sample() -> None:
    test = compare_samples(sample(1, 400), sample(2, 260), seed=0).drift["tests"]["embedding"]
    assert (test["reference"]["pictures"], test["new"]["pictures"]) == (500, 500)


def test_compare_samples_different_models_raises() -> None:
    other = dataclasses.replace(sample(2), labels=np.array(["Pneumonia", "Edema"]))
    with pytest.raises(ValueError, match="same model"):
        compare_samples(sample(1), other, seed=0)


def test_drift_plots_are_complete_and_self_contained() -> None:
    comparison = compare_samples(sample(1), sample(2), seed=0)
    plots = drift_plots(comparison, sample(1), sample(2))
    assert list(plots) == TESTS
    for svg in plots.values():
        assert "<svg" in svg
        assert "<script" not in svg
        assert "<image" not in svg


@needs_chromium
@pytest.mark.parametrize("patients", [9, 60])
def test_drift_page_has_no_accessibility_violation(patients: int, tmp_path: Path) -> None:
    reference, new = sample(1), sample(2, patients, score_shift=0.4)
    comparison = compare_samples(reference, new, seed=0)
    section = drift_section(
        comparison.drift, drift_plots(comparison, reference, new), "data of version 1", "new images"
    )
    page = render_drift_page(section, title="chest", source="folder", created="2026-01-01", notes=["a note"])
    assert audit_accessibility(page, "light", tmp_path) == []


@pytest.fixture(scope="module")
def nih_table(test_data: Path) -> pd.DataFrame:
    """All 112,120 rows of NIH's table, marked by membership in the official test list."""
    folder = test_data / "chestxray14"
    names = {"Patient ID": "patient_id", "View Position": "view", "Patient Gender": "sex", "Patient Age": "age"}
    table = pd.read_csv(folder / "Data_Entry_2017_v2020.csv.gz").rename(columns=names).astype({"patient_id": "string"})
    table["age"] = table["age"].astype(float).where(table["age"] <= 120)
    return table.assign(test=table["Image Index"].isin((folder / "test_list.txt").read_text().split()))


def metadata(rows: pd.DataFrame, seed: int) -> ReferenceSample:
    """A sample without scores and features."""
    drawn = rows.iloc[draw_sample(rows, seed)]
    return describe_rows(drawn, LABELS, np.empty((0, 2)), np.empty((0, 16)))


def test_compare_samples_nih_official_split_detects_view_shift(nih_table: pd.DataFrame) -> None:
    assert (len(nih_table), int(nih_table["test"].sum())) == (112_120, 25_596)
    training, test = (nih_table[nih_table["test"] == listed] for listed in (False, True))
    drift = compare_samples(metadata(training, 0), metadata(test, 0), seed=0).drift
    view = drift["tests"]["view"]
    assert drift["shifted"] == ["view"]
    assert view["p"] == pytest.approx(0.0002)
    assert view["value"] == pytest.approx(0.566 - 0.350, abs=0.05)
    assert drift["shares"]["view"]["AP"] == (pytest.approx(0.350, abs=0.05), pytest.approx(0.566, abs=0.05))


def test_compare_samples_nih_random_split_detects_no_shift(nih_table: pd.DataFrame) -> None:
    """Of 18 p-values, one is expected below 5%; more than 5 occur with a probability of 1 in 5,000."""
    below = 0
    for seed in range(6):
        drawn = np.random.default_rng(seed).random(nih_table["patient_id"].nunique()) < 0.1
        new = drawn[pd.factorize(nih_table["patient_id"])[0]]
        drift = compare_samples(metadata(nih_table[~new], seed), metadata(nih_table[new], seed), seed).drift
        below += sum((drift["tests"][name]["p"] or 1) < 0.05 for name in ("view", "age", "sex"))
    assert below <= 5
