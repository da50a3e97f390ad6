"""Columns of patient data in a catalog: numbers or categories."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from radiograft.config.patient_data import COVARIATE, covariate_column


def type_covariates(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows with numbers, float64, in the columns of covariates of which every known cell is a number.

    Example:
        >>> rows = pd.DataFrame({"covariate:pulse": ["80", None], "covariate:fever": ["yes", "80"]}, dtype="string")
        >>> type_covariates(rows).dtypes.astype(str).tolist()
        ['float64', 'string']
    """
    typed = {}
    for name in (name for name in map(str, rows) if name.startswith(COVARIATE)):
        numbers = pd.to_numeric(rows[name], errors="coerce").astype("float64")
        if numbers.notna().eq(rows[name].notna()).all():
            typed[name] = numbers
    return rows.assign(**typed)


def check_covariate_columns(rows: pd.DataFrame, names: Sequence[str], data_format: str) -> None:
    """Checks that a reader returned the columns that `data_covariates` names.

    Raises:
        ValueError: the format has no table.
    """
    missing = [name for name in names if covariate_column(name) not in rows]
    if missing:
        raise ValueError(
            f"data_covariates must be empty if the source has no table, as data_format={data_format}, "
            f"got {', '.join(missing)}"
        )
