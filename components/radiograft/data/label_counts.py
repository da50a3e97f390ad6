"""Numbers of images and patients of each label, for the reports."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from radiograft.data.catalog import label_class


def count_classes(rows: pd.DataFrame, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns the numbers of positive, negative and unknown images and of positive patients of each label.

    Args:
        rows: patient_id and the label columns; a soft label counts as its class.
        labels: names of the labels.
    """
    truths = {label: label_class(rows, label) for label in labels}
    return {
        label: {
            "positives": int(truth.eq(1).sum()),
            "negatives": int(truth.eq(0).sum()),
            "unknown": int(truth.isna().sum()),
            "positive_patients": int(rows["patient_id"][truth.eq(1)].nunique()),
        }
        for label, truth in truths.items()
    }
