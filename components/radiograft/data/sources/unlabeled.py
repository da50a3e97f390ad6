"""Readers of new pictures: as ingest reads them, but for what is in them, which nobody may know yet."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from radiograft import storage
from radiograft.config import Ingest
from radiograft.data.sources import image_files, image_folder, readers, table
from radiograft.data.sources.base import Source, patients


def _any_pictures(settings: Ingest) -> Source:
    """PNG and JPEG files at any depth; patients are known where files have Kermany's names."""
    found, excluded = image_files.listed(storage.list_files(settings.data_source))
    found["patient_id"] = found["path"].map(image_folder.patient).astype("string")
    return _source(settings.data_source, found.assign(view=None, sex=None, age=float("nan")), excluded)


def _any_radiographs(settings: Ingest) -> Source:
    """DICOM files at any depth, of which the tags tell patient, view, age and sex; no table is looked at."""
    from radiograft.data.sources.dicom import radiographs

    entries = list(storage.list_files(settings.data_source))
    return _source(settings.data_source, *radiographs(entries, settings.deidentifies()))


def _source(uri: str, found: pd.DataFrame, excluded: pd.DataFrame) -> Source:
    rows = found.rename(columns={"path": "image_id"})
    rows["patient_id"], notes = patients(rows["patient_id"], rows["image_id"])
    return Source(uri, rows, pd.DataFrame(index=rows.index), excluded, notes)


# The layouts of the others are those of published data sets, whose tables tell patients, views and findings alike.
READERS: dict[str, Callable[[Ingest], Source]] = readers.READERS | {
    "dicom": _any_radiographs,
    "folders": _any_pictures,
    "table": lambda settings: table.read(settings.data_source, settings.table_layout(), labelled=False),
}
