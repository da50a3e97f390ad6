"""What is asked of the published model beyond its figures: calibration, subgroups, shortcuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pandas as pd

from radiograft.config import Evaluate
from radiograft.evaluation import calibration, shortcuts, subgroups
from radiograft.evaluation.calibration import Calibration
from radiograft.evaluation.shortcuts import Shortcut
from radiograft.evaluation.subgroups import Judged, Subgroup
from radiograft.metrics.multilabel import SplitMetrics
from radiograft.reporting.section import Section


class Analyses(TypedDict):
    """`judged_on` is where subgroups and shortcuts were measured: test, or validation where test can judge no label."""

    calibration: Calibration
    judged_on: str
    subgroups: list[Subgroup]
    shortcuts: list[Shortcut]


def analyse(
    settings: Evaluate,
    rows: pd.DataFrame,
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    metrics: Mapping[str, SplitMetrics],
) -> Analyses:
    """Analyses one strategy.

    Args:
        rows: the catalogue's of all splits.
        predictions: the strategy's on validation and test, in the order of `rows`, columns of
            `records.prediction_frame`.
        thresholds: by label.
        metrics: of validation and test.
    """
    parts = {split: _part(predictions, split) for split in ("validation", "test")}
    estimable = {split: metrics[split]["mean"]["labels"] for split in parts}
    split = "test" if estimable["test"] else "validation"
    judged = Judged(parts[split], _part(rows, split), thresholds, list(metrics[split]["labels"]))
    return {
        "calibration": calibration.calibrate(parts["validation"], parts["test"], estimable["test"]),
        "judged_on": split,
        "subgroups": subgroups.by_subgroup(judged, settings),
        "shortcuts": shortcuts.find_shortcuts(_part(rows, "train"), judged, estimable[split]),
    }


def sections(facts: Mapping[str, Any]) -> Sequence[Section]:
    """The report's parts on them, from all that metrics.json holds."""
    fewest = facts["lineage"]["settings"]["evaluate_fewest_patients"]
    return [
        calibration.section(facts["calibration"]),
        subgroups.section(facts["subgroups"], facts["judged_on"], fewest),
        shortcuts.section(facts["shortcuts"], facts["judged_on"]),
    ]


def notes(facts: Mapping[str, Any]) -> list[str]:
    """What a reader of the headline must know of them, from all that metrics.json holds."""
    return shortcuts.warnings(facts["shortcuts"], facts["judged_on"])


def _part(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    return frame[frame["split"] == split].reset_index(drop=True)
