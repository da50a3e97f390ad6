"""The reader of each `data_format`."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pandas as pd

from radiograft import storage
from radiograft.config import Ingest
from radiograft.data.sources import chestxray14, chexpert, image_files, image_folder, medmnist, table
from radiograft.data.sources.base import Source, patient_ids
from radiograft.data.synthetic.dataset import generate_phantom_files

log = logging.getLogger(__name__)


SYNTHETIC = "the images are synthetic: figures on them say nothing about radiographs"
FORMATS_WITH_FIXED_LABELS = (
    "chestxray14",
    "medmnist",
    "phantom",
)  # formats of which `all` names the findings, whether they occur or not


def read_dicom(settings: Ingest) -> Source:
    """Reads a tree of DICOM files, with pydicom, which no other source needs."""
    from radiograft.data.sources import dicom

    return dicom.read(settings.data_source, settings.table_layout(), refuse_burned_in=settings.deidentifies())


def read_phantom(settings: Ingest) -> Source:
    """Reads the phantom data set, after drawing it where it is not there yet."""
    source = chestxray14.read(generate_phantom(settings))
    return source._replace(notes=(SYNTHETIC, *source.notes))


def generate_phantom(settings: Ingest) -> str:
    """Writes a phantom data set below the source unless it is there, and returns its URI.

    Size and seed are part of the folder's name, so that a set is never taken for another one.
    """
    patients, seed = settings.data_phantom_patients, settings.train_seed
    uri = storage.join(settings.data_source, f"phantom-{patients}-patients-seed-{seed}")
    last, newest = (
        chestxray14.LISTS["test"],
        chestxray14.BOX_TABLE,
    )  # sets that were drawn without boxes are drawn again
    if all(storage.exists(storage.join(uri, name)) for name in (last, newest)):
        log.info("phantom data set found at %s", uri)
        return uri
    log.info("drawing a phantom data set of %d patients into %s", patients, uri)
    for number, (name, content) in enumerate(generate_phantom_files(patients, seed), 1):
        storage.write_bytes(storage.join(uri, name), content)
        if number % 100 == 0:
            log.debug("%d images drawn", number)
    return uri


READERS: dict[str, Callable[[Ingest], Source]] = {  # by data_format
    "chestxray14": lambda settings: chestxray14.read(settings.data_source),
    "chexpert": lambda settings: chexpert.read(settings.data_source, settings.table_layout()),
    "dicom": read_dicom,
    "folders": lambda settings: image_folder.read(settings.data_source),
    "medmnist": lambda settings: medmnist.read(settings.data_source, settings.findings()),
    "phantom": read_phantom,
    "table": lambda settings: table.read(settings.data_source, settings.table_layout()),
}


def _read_any_images(settings: Ingest) -> Source:
    """PNG and JPEG files at any depth; patients are known where files have Kermany's names."""
    found, excluded = image_files.list_images(storage.list_files(settings.data_source))
    found["patient_id"] = found["path"].map(image_folder.kermany_patient).astype("string")
    return _source(settings.data_source, found.assign(view=None, sex=None, age=float("nan")), excluded)


def _read_any_dicom(settings: Ingest) -> Source:
    """DICOM files at any depth, of which the tags tell patient, view, age and sex; no table is looked at."""
    from radiograft.data.sources.dicom import radiographs

    entries = list(storage.list_files(settings.data_source))
    return _source(settings.data_source, *radiographs(entries, settings.deidentifies()))


def _source(uri: str, found: pd.DataFrame, excluded: pd.DataFrame) -> Source:
    rows = found.rename(columns={"path": "image_id"})
    rows["patient_id"], notes = patient_ids(rows["patient_id"], rows["image_id"])
    return Source(uri, rows, pd.DataFrame(index=rows.index), excluded, notes)


# The layouts of the others are those of published data sets, whose tables tell patients, views and findings alike.
UNLABELED_READERS: dict[str, Callable[[Ingest], Source]] = READERS | {
    "dicom": _read_any_dicom,
    "folders": _read_any_images,
    "table": lambda settings: table.read(settings.data_source, settings.table_layout(), labeled=False),
}
