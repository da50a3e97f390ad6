"""Shortcuts: how well view, image size, file size, age, sex or source folder alone predicts each label.

A model that is hardly better than one of these variables may have learned how images are acquired instead of the
finding.
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
from radiograft.registry.analysis_types import Shortcut
from radiograft.registry.result_types import Estimate
from radiograft.reporting.html import ReportSection, format_number

# A variable is marked if the 95% interval of its AUROC lies above 0.5 and its upper limit is at least the AUROC of the
# model minus this margin.
SHORTCUT_MARGIN = 0.05
MAX_NAMED = 5
NAMES = {
    "bytes": "File size",
    "pixels": "Image size",
    "view": "View",
    "source": "Source folder",
    "age": "Age",
    "sex": "Sex",
    "manufacturer": "Manufacturer",
    "color": "Color",
    "laterality": "Side of the body",
    "images": "Images of the study",
}


def find_shortcuts(train: pd.DataFrame, evaluated: EvaluatedSplit, labels: Sequence[str]) -> list[Shortcut]:
    """Measures how well each variable alone predicts each label; sorted by descending AUROC.

    The direction of a numeric variable and the prevalence in each category are estimated on training.

    Args:
        train: catalog rows of the training images.
        evaluated: split on which the AUROCs are measured.
        labels: labels that are estimable on that split.
    """
    shortcuts = [
        _measure_shortcut(variable, label, _variable_scores(*columns, train[label_column(label)]), evaluated)
        for variable, columns in _variables(train, evaluated.rows).items()
        for label in labels
        if train[label_column(label)].nunique() > 1
    ]
    return sorted(shortcuts, key=lambda shortcut: -(shortcut["auroc"]["value"] or 0))


def shortcut_warnings(shortcuts: Sequence[Shortcut], split: str) -> list[str]:
    """Returns one sentence for each variable that predicts a label nearly as well as the model."""
    by_variable: dict[str, list[str]] = {}
    for shortcut in shortcuts:
        if shortcut["warning"]:
            by_variable.setdefault(shortcut["variable"], []).append(_format_aurocs(shortcut, split))
    sentences = []
    for variable, labels in by_variable.items():
        more = f" and {len(labels) - MAX_NAMED} more labels" if len(labels) > MAX_NAMED else ""
        sentences.append(
            f"{NAMES[variable]} alone predicts nearly as well as the model, or better: "
            f"{'; '.join(labels[:MAX_NAMED])}{more}. "
            "The model may have learned how images are acquired instead of the finding."
        )
    return sentences


def shortcut_section(shortcuts: Sequence[Shortcut], split: str, estimated_on: str = "training") -> ReportSection:
    """Returns the report section on shortcuts, whose directions were estimated on the images that are named."""
    content = {
        "found": shortcuts,
        "split": split,
        "names": NAMES,
        "lead": SHORTCUT_MARGIN,
        "estimated_on": estimated_on,
    }
    return ReportSection("shortcuts.html.j2", content)


def _variables(train: pd.DataFrame, rows: pd.DataFrame) -> dict[str, tuple[pd.Series, pd.Series]]:
    """Returns the training and the evaluated column of every variable that varies between training images."""
    folders = subgroups.source_folders(pd.concat([train["uri"], rows["uri"]], ignore_index=True))
    names = ("bytes", "pixels", "view", "age", "sex", *subgroups.ACQUISITION)
    columns = {name: (train[name], rows[name]) for name in names if name in train}
    columns["source"] = (folders[: len(train)].set_axis(train.index), folders[len(train) :].set_axis(rows.index))
    return {name: pair for name, pair in columns.items() if pair[0].nunique() > 1}


def _variable_scores(train: pd.Series, evaluated: pd.Series, truth: pd.Series[float]) -> FloatArray:
    """Returns scores (n,) of the evaluated images from the variable alone; only their order matters.

    Args:
        train: the variable of the training images.
        evaluated: the variable of the evaluated images.
        truth: ground truth of the training images.
    """
    if pd.api.types.is_numeric_dtype(train):
        median = train.median()  # replaces missing values
        is_increasing = (delong.auroc_interval(truth, train.fillna(median))["value"] or 0) >= 0.5
        values = evaluated.fillna(median)
        return np.asarray(values if is_increasing else -values, np.float64)
    prevalence = truth.groupby(train).mean()
    return np.asarray(evaluated.map(prevalence).astype("float64").fillna(truth.mean()), np.float64)


def _measure_shortcut(variable: str, label: str, scores: FloatArray, evaluated: EvaluatedSplit) -> Shortcut:
    predictions = evaluated.predictions
    truth, model_scores = predictions[label_column(label)], predictions[score_column(label)]
    patients = predictions["patient_id"]
    auroc = delong.auroc_interval(truth, scores, patients)
    model_auroc = delong.auroc_interval(truth, model_scores, patients)
    return {
        "variable": variable,
        "label": label,
        "auroc": auroc,
        "model": model_auroc,
        "lead": delong.compare_aurocs(truth, model_scores, scores, patients).estimate(),
        "warning": _is_nearly_as_good(auroc, model_auroc),
    }


def _is_nearly_as_good(variable: Estimate, model: Estimate) -> bool:
    # Without an interval the value counts: a class with a single patient has none.
    value = variable["value"] or 0.0
    low = value if variable["low"] is None else variable["low"]
    high = value if variable["high"] is None else variable["high"]
    return low > 0.5 and high >= (model["value"] or 0.0) - SHORTCUT_MARGIN


def _format_aurocs(shortcut: Shortcut, split: str) -> str:
    auroc, interval = shortcut["auroc"], ""
    if auroc["low"] is not None:
        interval = f" ({format_number(auroc['low'])} to {format_number(auroc['high'])})"
    return (
        f"{shortcut['label']} on {split} with an AUROC of {format_number(auroc['value'])}{interval}, "
        f"the model with {format_number(shortcut['model']['value'])}"
    )
