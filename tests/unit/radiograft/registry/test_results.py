"""metrics.json: both schema versions are read, malformed files are rejected by the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from radiograft.metrics.class_decisions import ExclusiveClasses
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.registry.deciding_metrics import deciding_metrics, split_accuracy
from radiograft.registry.results import parse_results, read_results, write_results
from tests.helpers.publish_inputs import METRICS
from tests.helpers.samples import class_frame

TRIAL_OF_VERSION_1 = {
    "cut_off": "top_conv",
    "trainable_weights": 410_000,
    "epochs": 3,
    "best_epoch": 2,
    "val_auroc": 0.9,
    "val_loss": 0.4,
}


def test_write_results_is_read_back(tmp_path: Path) -> None:
    results = parse_results(METRICS)
    write_results(tmp_path, results)
    assert read_results(tmp_path) == results
    assert json.loads((tmp_path / "metrics.json").read_text())["schema_version"] == 2


def test_parse_results_version_1_converts_trials() -> None:
    results = parse_results({**METRICS, "cut_off_search": [TRIAL_OF_VERSION_1]})
    assert results["schema_version"] == 2
    assert results["cut_off_search"] == [
        {
            "overrides": {"model_cut_off": "top_conv"},
            "trainable_weights": 410_000,
            "epochs": 3,
            "best_epoch": 2,
            "metrics": {"val_auroc": 0.9, "val_loss": 0.4},
        }
    ]


def test_parse_results_of_older_version_has_no_confounders() -> None:
    """Fails if a version that was published before confounders were measured can no longer be read."""
    assert "confounders" not in METRICS
    assert "confounders" not in parse_results(METRICS)
    assert parse_results({**METRICS, "confounders": []})["confounders"] == []


def test_parse_results_newer_schema_raises() -> None:
    with pytest.raises(ValueError, match=r"^metrics\.json must have schema_version 1 or 2, got 3$"):
        parse_results({**METRICS, "schema_version": 3})


@pytest.mark.parametrize(("key", "value"), [("gate", None), ("metrics", []), ("published", 5), ("warnings", "none")])
def test_parse_results_wrong_type_raises_with_key(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^metrics\.json must have `{key}` of type "):
        parse_results({**METRICS, key: value})


@pytest.mark.parametrize("trials", [5, [5], [{}], [{"cut_off": "top_conv"}]])
def test_parse_results_malformed_trial_raises(trials: Any) -> None:
    with pytest.raises(ValueError, match=r"^metrics\.json must list trials in `cut_off_search`, got a malformed one"):
        parse_results({**{k: v for k, v in METRICS.items() if k != "schema_version"}, "cut_off_search": trials})


def test_read_results_not_json_raises(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(ValueError, match=r"metrics\.json"):
        read_results(tmp_path)


def test_deciding_metrics_have_names_of_kfp_and_values_of_test() -> None:
    assert deciding_metrics(parse_results(METRICS)) == {
        "auroc_test": 0.8,
        "auroc_test_low": pytest.approx(0.7),
        "auroc_test_high": pytest.approx(0.85),
        "accuracy_test": 0.72,
        "majority_test": 0.7,
        "gate_promoted": 1.0,
    }


def test_deciding_metrics_not_estimable_are_omitted() -> None:
    test = METRICS["metrics"]["fine_tuning"]["test"]
    mean = test["mean"] | {"auroc": {"value": None, "low": None, "high": None}}
    metrics = {"fine_tuning": {"validation": test, "test": test | {"mean": mean}}}
    results = parse_results({**METRICS, "metrics": metrics, "gate": METRICS["gate"] | {"promote": False}})
    assert deciding_metrics(results) == {"accuracy_test": 0.72, "majority_test": 0.7, "gate_promoted": 0.0}


def with_classes(ordered: bool) -> dict[str, Any]:
    """Returns results whose test metrics are of exclusive classes: three of four images are predicted correctly."""
    names, scores = ("nv", "mel"), [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]]
    frame = class_frame(names, [0, 0, 1, 1], scores)
    test = evaluate_predictions(frame, names, {}, 0, 0, 1, ExclusiveClasses("mel", ordered))
    return {**METRICS, "metrics": {"fine_tuning": {"test": test}}}


def test_deciding_metrics_of_classes_are_of_highest_score() -> None:
    found = deciding_metrics(parse_results(with_classes(ordered=True)))
    assert found == {
        "auroc_test": 1.0,
        "accuracy_test": 0.75,
        "majority_test": 0.5,
        "balanced_test": 0.75,
        "gate_promoted": found["gate_promoted"],
    }


@pytest.mark.parametrize("ordered", [True, False])
def test_write_results_of_classes_is_read_back(tmp_path: Path, ordered: bool) -> None:
    results = parse_results(with_classes(ordered))
    write_results(tmp_path, results)
    assert read_results(tmp_path) == results
    classes = read_results(tmp_path)["metrics"]["fine_tuning"]["test"]["classes"]
    assert (classes["kappa"] is not None) == ordered


def test_split_accuracy_of_independent_labels_is_their_mean() -> None:
    test = parse_results(METRICS)["metrics"]["fine_tuning"]["test"]
    assert "classes" not in test
    assert split_accuracy(test) == (
        test["mean"]["accuracy"],
        {"value": test["mean"]["majority_accuracy"], "low": None, "high": None},
    )
