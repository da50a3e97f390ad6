"""What tells the answer without the image: the AUROC of view, sizes of image and file, age, sex or source alone.

A model that hardly beats one of these may have learned how the images came about and not the finding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from radiograft.data.catalog import label_column, score_column
from radiograft.evaluation import subgroups
from radiograft.evaluation.subgroups import EvaluatedSplit
from radiograft.metrics import delong
from radiograft.metrics.ranking import FloatArray
from radiograft.registry.result_types import Estimate, Shortcut
from radiograft.reporting.html import ReportSection
from radiograft.reporting.narrative import format_number

# A warning is due where the 95 % interval of the variable's AUROC lies above 0.5 and reaches to this much below the
# model's AUROC, or above it.
SHORTCUT_MARGIN = 0.05
MAX_NAMED = 5
NAMES = {
    "bytes": "File size",
    "pixels": "Image size",
    "view": "View",
    "source": "Source folder",
    "age": "Age",
    "sex": "Sex",
}


def find_shortcuts(train: pd.DataFrame, judged: EvaluatedSplit, labels: Sequence[str]) -> list[Shortcut]:
    """How well each variable alone predicts each label, the best first.

    Numbers count in the direction, categories with the share of positives that they have in training.

    Args:
        train: the catalog's rows of the training images.
        judged: what it is measured on.
        labels: those that are estimable there.
    """
    variables = _variables(train, judged.rows)
    found = [
        _shortcut(variable, label, _alone(*columns, train[label_column(label)]), judged)
        for variable, columns in variables.items()
        for label in labels
        if train[label_column(label)].nunique() > 1
    ]
    return sorted(found, key=lambda each: -(each["auroc"]["value"] or 0))


def shortcut_warnings(found: Sequence[Shortcut], split: str) -> list[str]:
    """One sentence for each variable that predicts some label nearly as well as the model."""
    sentences = []
    for variable in dict.fromkeys(each["variable"] for each in found if each["warning"]):
        named = [_format_aurocs(each, split) for each in found if each["variable"] == variable and each["warning"]]
        more = f" and {len(named) - MAX_NAMED} more labels" if len(named) > MAX_NAMED else ""
        labels = "; ".join(named[:MAX_NAMED]) + more
        sentences.append(
            f"{NAMES[variable]} alone predicts nearly as well as the model, or better: {labels}. "
            "The model may have learned how the images came about instead of the finding."
        )
    return sentences


def shortcut_section(found: Sequence[Shortcut], split: str) -> ReportSection:
    """The report's part on shortcuts."""
    return ReportSection("shortcuts.html.j2", {"found": found, "split": split, "names": NAMES, "lead": SHORTCUT_MARGIN})


def _variables(train: pd.DataFrame, rows: pd.DataFrame) -> dict[str, tuple[pd.Series, pd.Series]]:
    """Training's and the judged split's column of every variable that differs between training images."""
    together = subgroups.source_folders(pd.concat([train["uri"], rows["uri"]], ignore_index=True))
    columns = {name: (train[name], rows[name]) for name in ("bytes", "pixels", "view", "age", "sex")}
    columns["source"] = (together[: len(train)].set_axis(train.index), together[len(train) :].set_axis(rows.index))
    return {name: both for name, both in columns.items() if both[0].nunique() > 1}


def _alone(train: pd.Series, judged: pd.Series, truth: pd.Series[float]) -> FloatArray:
    """Scores of the judged images by the variable alone; only their order counts."""
    if pd.api.types.is_numeric_dtype(train):
        middle = train.median()  # stands for what is unknown
        rises = (delong.auroc_interval(truth, train.fillna(middle))["value"] or 0) >= 0.5
        values = judged.fillna(middle)
        return np.asarray(values if rises else -values, np.float64)
    rates = truth.groupby(train).mean()
    return np.asarray(judged.map(rates).astype("float64").fillna(truth.mean()), np.float64)


def _shortcut(variable: str, label: str, scores: FloatArray, judged: EvaluatedSplit) -> Shortcut:
    predictions = judged.predictions
    truth, model = predictions[label_column(label)], predictions[score_column(label)]
    patients = predictions["patient_id"]
    alone, by_model = (delong.auroc_interval(truth, each, patients) for each in (scores, model))
    return {
        "variable": variable,
        "label": label,
        "auroc": alone,
        "model": by_model,
        "lead": delong.compare_aurocs(truth, model, scores, patients).estimate(),
        "warning": _nearly_as_good(alone, by_model),
    }


def _nearly_as_good(alone: Estimate, model: Estimate) -> bool:
    # A variable that separates the classes wholly has no interval, and deserves the warning most.
    low, high = (alone["value"] or 0.0 if bound is None else bound for bound in (alone["low"], alone["high"]))
    return low > 0.5 and high >= (model["value"] or 0.0) - SHORTCUT_MARGIN


def _format_aurocs(found: Shortcut, split: str) -> str:
    alone, bounds = found["auroc"], ""
    if alone["low"] is not None:
        bounds = f" ({format_number(alone['low'])} to {format_number(alone['high'])})"
    return (
        f"{found['label']} on {split} with an AUROC of {format_number(alone['value'])}{bounds}, "
        f"the model with {format_number(found['model']['value'])}"
    )
