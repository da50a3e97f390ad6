"""Readers of new pictures: as ingest reads them, but for what is in them, which nobody may know yet."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from components import storage
from components.config import Ingest
from components.ingest import folders, pictures, table, task
from components.ingest.source import Source, patients


def _any_pictures(settings: Ingest) -> Source:
    """PNG and JPEG files at any depth; patients are known where files have Kermany's names."""
    found, excluded = pictures.listed(storage.list_files(settings.data_source))
    found["patient_id"] = found["path"].map(folders.patient).astype("string")
    return _source(settings.data_source, found.assign(view=None, sex=None, age=float("nan")), excluded)


def _any_radiographs(settings: Ingest) -> Source:
    """DICOM files at any depth, of which the tags tell patient, view, age and sex; no table is looked at."""
    from components.ingest.dicom_tree import radiographs  # with pydicom, which no other source needs

    entries = list(storage.list_files(settings.data_source))
    return _source(settings.data_source, *radiographs(entries, settings.deidentifies()))


def _source(uri: str, found: pd.DataFrame, excluded: pd.DataFrame) -> Source:
    rows = found.rename(columns={"path": "image_id"})
    rows["patient_id"], notes = patients(rows["patient_id"], rows["image_id"])
    return Source(uri, rows, pd.DataFrame(index=rows.index), excluded, notes)


# The layouts of the others are those of published data sets, whose tables tell patients, views and findings alike.
READERS: dict[str, Callable[[Ingest], Source]] = task.READERS | {
    "dicom": _any_radiographs,
    "folders": _any_pictures,
    "table": lambda settings: table.read(settings.data_source, settings.table_layout(), labelled=False),
}
