"""What a table says of each picture, read by a layout: patient, view, age, sex, split and findings."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from radiograft.config.base import nearest
from radiograft.config.table_columns import TableLayout
from radiograft.data import splits
from radiograft.data.sources import findings
from radiograft.data.sources.ages import years
from radiograft.utils.errors import NamingError

SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
COLUMNS = ("image", "patient", "label", "view", "age", "sex", "split")


class Described(NamedTuple):
    """A table's rows: `image` as it stands there, patient_id (empty: unknown), view, age, sex, official; and findings.

    Both have the same index.
    """

    rows: pd.DataFrame
    findings: pd.DataFrame


def described(table: pd.DataFrame, layout: TableLayout, name: str, blank: float = float("nan")) -> Described:
    """Reads a table of text by its layout.

    Args:
        name: of the table, for messages.
        blank: what an empty cell of a finding's column means.

    Raises:
        NamingError: a column that the layout names is missing (the nearest is given), a split of no known name, or no
            column says what is in the pictures. Without a header, columns are called by the first picture's cells.
    """
    _check_columns(table, layout, name)

    def cells(field: str) -> pd.Series[str]:
        column = getattr(layout, field)
        return table[column].str.strip() if column in table else pd.Series("", table.index, dtype="string")

    rows = pd.DataFrame(
        {
            "image": cells("image").str.removeprefix("./"),
            "patient_id": cells("patient"),
            "view": cells("view").str.upper().mask(lambda view: view == ""),
            "sex": cells("sex").str.lower().map(SEXES).astype("string"),
            "official": splits.official(cells("split"), name),
        }
    ).assign(age=cells("age").map(years).astype("float64"))
    if layout.label in table:
        return Described(rows, _put_together(rows["image"], findings.from_words(cells("label"), layout.between())))
    free = table.drop(columns=[getattr(layout, field) for field in COLUMNS], errors="ignore")
    found = findings.from_columns(free, layout.uncertain, blank)
    if found.empty:
        asked = (
            f"{name} must tell the findings in a column of words (data_table label=...) or in columns of 1 and 0, got"
        )
        raise NamingError(f"{asked} the columns {', '.join(table.columns)}", f"{asked} {len(table.columns)} columns")
    return Described(rows, found)


def _put_together(images: pd.Series[str], named: pd.DataFrame) -> pd.DataFrame:
    """Findings with all that the rows of one picture name: some tables have a row for each finding."""
    shared = images.duplicated(keep=False)
    return pd.concat([named[~shared], named[shared].groupby(images[shared]).transform("max")]).loc[named.index]


def _check_columns(table: pd.DataFrame, layout: TableLayout, name: str) -> None:
    for field in COLUMNS:
        column = getattr(layout, field)
        if column not in table and (field == "image" or layout.named(field)):
            asked = f"{name} must have the column {column!r} that data_table takes for {field}=, got"
            columns = f"{', '.join(table.columns)}{nearest(column, table.columns)}"
            raise NamingError(
                f"{asked} {columns}", f"{asked} {len(table.columns)} others"
            )  # perhaps the first picture's
