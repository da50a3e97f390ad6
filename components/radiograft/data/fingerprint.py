"""The fingerprint of a catalog: the SHA-256 of what training sees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pandas as pd

COLUMNS = ["image_id", "md5", "patient_id", "split"]
SECOND = "lateral_md5"  # in catalogs of studies


def fingerprint(rows: pd.DataFrame, labels: Sequence[str]) -> str:
    """Returns the SHA-256 of COLUMNS, the second images of studies, and labels as CSV.

    Each combination of labels is formatted once instead of in each of a million rows.

    Args:
        rows: sorted catalog rows.
        labels: the label columns.
    """
    keys, columns = list(labels), COLUMNS
    if SECOND in rows:
        rows, columns = rows.assign(**{SECOND: rows[SECOND].mask(rows["lateral"].isna())}), [*COLUMNS, SECOND]
    combinations = rows[keys].drop_duplicates()
    endings = _csv_lines(combinations.set_axis(pd.Index([""] * len(combinations))), index=True)
    ending_of = rows[keys].groupby(keys, sort=False, dropna=False).ngroup()
    lines = map("".join, zip(_csv_lines(rows[columns]), map(endings.__getitem__, ending_of), strict=True))
    header = rows[:0][[*columns, *keys]].to_csv(index=False, lineterminator="\n")
    return hashlib.sha256((header + "\n".join([*lines, ""])).encode()).hexdigest()


def _csv_lines(rows: pd.DataFrame, index: bool = False) -> list[str]:
    return rows.to_csv(header=False, index=index, lineterminator="\0").split("\0")[:-1]
