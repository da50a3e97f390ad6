"""Reader of a table, CSV or Parquet, beside its images: which column is what, the setting data_table says."""

from __future__ import annotations

import posixpath
from typing import NamedTuple

import pandas as pd

from radiograft import storage
from radiograft.config import NO_FINDING
from radiograft.config.base import did_you_mean
from radiograft.config.data import TableLayout
from radiograft.data import splits
from radiograft.data import table_files as table_io
from radiograft.data.sources import base, image_files
from radiograft.data.sources.base import Source, age_in_years, patient_ids
from radiograft.utils.errors import SensitiveValueError

FINDING = "finding:"  # before a finding's name, which may be that of another column

SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
COLUMNS = ("image", "patient", "label", "view", "age", "sex", "split")


def read(uri: str, layout: TableLayout, *, labeled: bool = True) -> Source:
    """Reads a table; its images are the files of its folder, at any depth.

    Args:
        labeled: whether the table has to tell the findings; if not, all images are said to show none.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: no table, columns that are missing, or images that are not those of the table.
    """
    folder, name = posixpath.dirname(uri) or ".", posixpath.basename(uri)
    if not table_io.is_table(name):
        raise ValueError(
            f"data_source must be a table, which ends in {', '.join(table_io.SUFFIXES)}, got {uri!r}; give the file"
        )
    cells = table_io.read(name, storage.read_bytes(uri))
    table = parse_rows(cells if labeled else cells.assign(**{layout.label: NO_FINDING}), layout, name)
    found, strays = image_files.list_images(storage.list_files(folder))
    rows, found = image_files.match_images_to_rows(table.rows, found, name)
    source = join_table(folder, rows, table.findings, found)
    return source._replace(excluded=pd.concat([strays, source.excluded]))


def join_table(uri: str, rows: pd.DataFrame, findings: pd.DataFrame, found: pd.DataFrame) -> Source:
    """The source of a table's rows and findings (of one index) and the images found, which share `image_id`."""
    kept, truth, excluded = with_findings(rows, findings, found)
    kept["patient_id"], notes = patient_ids(kept["patient_id"], kept["image_id"])
    return Source(uri, kept, truth, excluded, notes)


def with_findings(
    rows: pd.DataFrame, findings: pd.DataFrame, found: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Rows that have an image, their findings (of one index) and what was set aside, see `images.joined`."""
    told = rows.drop(columns="image").join(findings.add_prefix(FINDING))
    kept, excluded = image_files.join_labels(told, found)
    is_finding = kept.columns.str.startswith(FINDING)
    truth = kept.loc[:, is_finding].rename(columns=lambda name: name.removeprefix(FINDING))
    return kept.loc[:, ~is_finding], truth, excluded


class ParsedTable(NamedTuple):
    """A table's rows: `image` as it stands there, patient_id (empty: unknown), view, age, sex, official; and findings.

    Both have the same index.
    """

    rows: pd.DataFrame
    findings: pd.DataFrame


def parse_rows(table: pd.DataFrame, layout: TableLayout, name: str, blank: float = float("nan")) -> ParsedTable:
    """Reads a table of text by its layout.

    Args:
        name: of the table, for messages.
        blank: what an empty cell of a finding's column means.

    Raises:
        NamingError: a column that the layout names is missing (the nearest is given), a split of no known name, or no
            column says what is in the images. Without a header, columns are called by the first image's cells.
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
            "official": splits.official_splits(cells("split"), name),
        }
    ).assign(age=cells("age").map(age_in_years).astype("float64"))
    if layout.label in table:
        return ParsedTable(rows, _merge_rows(rows["image"], base.findings_from_text(cells("label"), layout.between())))
    free = table.drop(columns=[getattr(layout, field) for field in COLUMNS], errors="ignore")
    found = base.findings_from_columns(free, layout.uncertain, blank)
    if found.empty:
        asked = (
            f"{name} must tell the findings in a column of words (data_table label=...) or in columns of 1 and 0, got"
        )
        raise SensitiveValueError(
            f"{asked} the columns {', '.join(table.columns)}", f"{asked} {len(table.columns)} columns"
        )
    return ParsedTable(rows, found)


def _merge_rows(images: pd.Series[str], named: pd.DataFrame) -> pd.DataFrame:
    """Findings with all that the rows of one image name: some tables have a row for each finding."""
    shared = images.duplicated(keep=False)
    return pd.concat([named[~shared], named[shared].groupby(images[shared]).transform("max")]).loc[named.index]


def _check_columns(table: pd.DataFrame, layout: TableLayout, name: str) -> None:
    for field in COLUMNS:
        column = getattr(layout, field)
        if column not in table and (field == "image" or layout.named(field)):
            asked = f"{name} must have the column {column!r} that data_table takes for {field}=, got"
            columns = f"{', '.join(table.columns)}{did_you_mean(column, table.columns)}"
            raise SensitiveValueError(
                f"{asked} {columns}", f"{asked} {len(table.columns)} others"
            )  # perhaps the first image's
