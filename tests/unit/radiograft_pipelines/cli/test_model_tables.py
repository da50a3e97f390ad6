"""Metrics of exclusive classes in the tables of `radiograft models`."""

from __future__ import annotations

from typing import Any, cast

from radiograft.metrics.multiclass import ExclusiveClasses
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.registry.results import EvaluationResults
from radiograft_pipelines.cli.model_tables import VersionRecord
from tests.helpers.samples import class_frame


def formatted(ordered: bool) -> dict[str, str]:
    names, scores = ("nv", "mel"), [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]]
    frame = class_frame(names, [0, 0, 1, 1], scores)
    metrics = evaluate_predictions(frame, names, {}, 0, 0, 1, ExclusiveClasses("mel", ordered))
    results: Any = {
        "published": "fine_tuning",
        "metrics": {"fine_tuning": dict.fromkeys(("validation", "test"), metrics)},
    }
    return VersionRecord({"version": 1}, cast(EvaluationResults, results), {}, False).formatted_metrics()


def test_formatted_metrics_of_classes_hold_accuracy_beside_baseline() -> None:
    found = formatted(ordered=True)
    assert found["test: classes accuracy"].startswith("0.750")
    assert found["test: classes accuracy of always predicting mel"].startswith("0.500")
    assert found["test: classes kappa"].startswith("0.500")
    assert found["test: mean AUROC"].startswith("1.000")
    assert "test: mean accuracy" not in found  # of each class against the rest


def test_formatted_metrics_of_unordered_classes_have_no_kappa() -> None:
    assert "test: classes kappa" not in formatted(ordered=False)
