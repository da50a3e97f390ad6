"""The fingerprint of a catalog: the SHA-256 of what training sees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pandas as pd

COLUMNS = ["image_id", "md5", "patient_id", "split"]


def fingerprint(rows: pd.DataFrame, labels: Sequence[str]) -> str:
    """Returns the SHA-256 of COLUMNS and labels as CSV.

    Each combination of labels is formatted once instead of in each of a million rows.

    Args:
        rows: sorted catalog rows.
        labels: the label columns.
    """
    keys = list(labels)
    combinations = rows[keys].drop_duplicates()
    endings = _csv_lines(combinations.set_axis(pd.Index([""] * len(combinations))), index=True)
    ending_of = rows[keys].groupby(keys, sort=False, dropna=False).ngroup()
    lines = map("".join, zip(_csv_lines(rows[COLUMNS]), map(endings.__getitem__, ending_of), strict=True))
    header = rows[:0][[*COLUMNS, *keys]].to_csv(index=False, lineterminator="\n")
    return hashlib.sha256((header + "\n".join([*lines, ""])).encode()).hexdigest()


def _csv_lines(rows: pd.DataFrame, index: bool = False) -> list[str]:
    return rows.to_csv(header=False, index=index, lineterminator="\0").split("\0")[:-1]
