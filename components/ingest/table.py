"""Reader of a table, CSV or Parquet, beside its pictures: which column is what, the setting data_table says."""

from __future__ import annotations

import posixpath

import pandas as pd

from components import storage
from components.ingest import pictures, table_file
from components.ingest.source import Source, patients
from components.ingest.table_layout import TableLayout
from components.ingest.table_rows import described


def read(uri: str, layout: TableLayout) -> Source:
    """Reads a table; its pictures are the files of its folder, at any depth.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: no table, columns that are missing, or pictures that are not those of the table.
    """
    folder, name = posixpath.dirname(uri) or ".", posixpath.basename(uri)
    if not name.endswith(table_file.SUFFIXES):
        raise ValueError(
            f"data_source must be a table, which ends in {', '.join(table_file.SUFFIXES)}, got {uri!r}; give the file"
        )
    table = described(table_file.read(name, storage.read_bytes(uri)), layout, name)
    found, strays = pictures.listed(storage.list_files(folder))
    rows, found = pictures.named_alike(table.rows, found, name)
    source = joined(folder, rows, table.findings, found)
    return source._replace(excluded=pd.concat([strays, source.excluded]))


def joined(uri: str, rows: pd.DataFrame, findings: pd.DataFrame, found: pd.DataFrame) -> Source:
    """The source of a table's rows and findings (of one index) and the pictures found, which share `image_id`."""
    kept, excluded = pictures.joined(rows.reset_index(names="row"), found)
    truth = findings.loc[kept["row"]].reset_index(drop=True)
    kept["patient_id"], notes = patients(kept["patient_id"], kept["image_id"])
    return Source(uri, kept.drop(columns=["row", "image"]), truth, excluded, notes)
