"""Reader of a table, CSV or Parquet, beside its pictures: which column is what, the setting data_table says."""

from __future__ import annotations

import posixpath

import pandas as pd

from radiograft import storage
from radiograft.config import NO_FINDING
from radiograft.config.table_columns import TableLayout
from radiograft.data.sources import image_files
from radiograft.data.sources.base import Source, patients
from radiograft.data.tables import io as table_io
from radiograft.data.tables.rows import described

FINDING = "finding:"  # before a finding's name, which may be that of another column


def read(uri: str, layout: TableLayout, *, labelled: bool = True) -> Source:
    """Reads a table; its pictures are the files of its folder, at any depth.

    Args:
        labelled: whether the table has to tell the findings; if not, all pictures are said to show none.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: no table, columns that are missing, or pictures that are not those of the table.
    """
    folder, name = posixpath.dirname(uri) or ".", posixpath.basename(uri)
    if not table_io.is_table(name):
        raise ValueError(
            f"data_source must be a table, which ends in {', '.join(table_io.SUFFIXES)}, got {uri!r}; give the file"
        )
    cells = table_io.read(name, storage.read_bytes(uri))
    table = described(cells if labelled else cells.assign(**{layout.label: NO_FINDING}), layout, name)
    found, strays = image_files.listed(storage.list_files(folder))
    rows, found = image_files.named_alike(table.rows, found, name)
    source = joined(folder, rows, table.findings, found)
    return source._replace(excluded=pd.concat([strays, source.excluded]))


def joined(uri: str, rows: pd.DataFrame, findings: pd.DataFrame, found: pd.DataFrame) -> Source:
    """The source of a table's rows and findings (of one index) and the pictures found, which share `image_id`."""
    kept, truth, excluded = with_findings(rows, findings, found)
    kept["patient_id"], notes = patients(kept["patient_id"], kept["image_id"])
    return Source(uri, kept, truth, excluded, notes)


def with_findings(
    rows: pd.DataFrame, findings: pd.DataFrame, found: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Rows that have a picture, their findings (of one index) and what was set aside, see `pictures.joined`."""
    told = rows.drop(columns="image").join(findings.add_prefix(FINDING))
    kept, excluded = image_files.joined(told, found)
    is_finding = kept.columns.str.startswith(FINDING)
    truth = kept.loc[:, is_finding].rename(columns=lambda name: name.removeprefix(FINDING))
    return kept.loc[:, ~is_finding], truth, excluded
