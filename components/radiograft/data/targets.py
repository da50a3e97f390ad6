"""Targets of `data_task=regression`: columns of numbers in place of labels. An unknown target is NaN."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from radiograft.registry.result_types import TargetSummary

MIN_VALUES = 2  # different values of a target, without which nothing is learned and R² is undefined


def summarize_targets(patients: pd.Series[str], values: pd.DataFrame) -> dict[str, TargetSummary]:
    """Returns count, mean, standard deviation, median and range of the known values of each target.

    Args:
        patients: patient of each image.
        values: one column for each target, with the index of `patients`.

    Example:
        >>> values = pd.DataFrame({"age": [1.0, 3.0, float("nan")]})
        >>> summary = summarize_targets(pd.Series(["a", "b", "c"]), values)["age"]
        >>> summary["known"], summary["unknown"], summary["mean"], summary["deviation"]
        (2, 1, 2.0, 1.0)
    """
    return {str(target): _summarize(patients, values[target]) for target in values}


def _summarize(patients: pd.Series[str], values: pd.Series[float]) -> TargetSummary:
    known = values.dropna().to_numpy("float64")
    low, median, high = np.quantile(known, [0, 0.5, 1]).tolist() if len(known) else (None, None, None)
    return TargetSummary(
        known=len(known),
        unknown=int(values.isna().sum()),
        patients=int(patients[values.notna()].nunique()),
        mean=float(known.mean()) if len(known) else None,
        deviation=float(known.std()) if len(known) else None,
        median=median,
        low=low,
        high=high,
    )


def varying_targets(values: pd.DataFrame) -> list[str]:
    """Returns the targets with at least two different values."""
    return [str(target) for target, count in values.nunique().items() if count >= MIN_VALUES]


def check_targets(parts: Mapping[str, pd.DataFrame], exclusions: str = "") -> list[str]:
    """Rejects data that cannot be trained on, and returns a note for each split where a target does not vary.

    Args:
        parts: values of the targets, one column each, of `train`, `validation` and `test`.
        exclusions: what was left out, as the end of the message.

    Raises:
        ValueError: a target does not vary in training, none does in validation, or the test split is empty.
    """
    varying = {split: varying_targets(part) for split, part in parts.items()}
    targets = [str(target) for target in parts["train"]]
    if len(varying["train"]) < len(targets) or not varying["validation"] or parts["test"].empty:
        raise ValueError(
            "every target must have at least two different values in training, one target also in validation, and test "
            f"must not be empty; got {_format_counts(parts)}{exclusions}"
        )
    return [
        f"does not vary on {split} ({len(part)} images): "
        + ", ".join(target for target in targets if target not in varying[split])
        for split, part in parts.items()
        if len(varying[split]) < len(targets)
    ]


def _format_counts(parts: Mapping[str, pd.DataFrame]) -> str:
    return "; ".join(
        f"{split}: {len(part)} images, "
        + ", ".join(f"{count} values of {target}" for target, count in part.nunique().items())
        for split, part in parts.items()
    )
