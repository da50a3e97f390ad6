"""Maps each `data_format` to its reader, with and without labels."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import pandas as pd

from radiograft import storage
from radiograft.config import Ingest
from radiograft.config.data import REGRESSION, STUDY
from radiograft.data.sources import archives, chestxray14, chexpert, image_folder, listing, medmnist, table
from radiograft.data.sources.base import Source, patient_ids
from radiograft.data.synthetic.dataset import STUDY_NAME, generate_phantom_files

log = logging.getLogger(__name__)

SYNTHETIC = "the images are synthetic: figures on them say nothing about radiographs"
FORMATS_WITH_FIXED_LABELS = ("chestxray14", "medmnist", "phantom")  # data_labels=all is valid even if some are absent


def read_dicom(settings: Ingest) -> Source:
    """Reads a tree of DICOM files or a PACS; only this reader imports pydicom."""
    from radiograft.data.sources import dicom

    layout, labels, refused = settings.table_layout(), settings.findings(), settings.deidentifies()
    return dicom.read(settings.data_source, layout, labels, settings.data_table_file, refuse_burned_in=refused)


def read_archive(settings: Ingest) -> Source:
    """Reads a dataset in the layout of the archive that `data_format` names."""
    layout, keeps_burned_in = settings.table_layout(), not settings.deidentifies()
    return archives.read(settings.data_source, settings.data_format, layout, settings.findings(), keeps_burned_in)


def read_phantom(settings: Ingest) -> Source:
    """Reads the phantom dataset; generates it first if it is missing."""
    source = chestxray14.read(generate_phantom(settings), settings.findings(), settings.data_covariates)
    study = source.rows["image_id"].str.extract(STUDY_NAME, expand=False)
    return source._replace(rows=source.rows.assign(study_id=study), notes=(SYNTHETIC, *source.notes))


def generate_phantom(settings: Ingest) -> str:
    """Writes a phantom dataset below the source unless it exists, and returns its URI.

    The folder's name contains size and seed, so different datasets are never confused. With `data_unit=study` most
    studies also have a lateral image.
    """
    patients, seed, laterals = settings.data_phantom_patients, settings.train_seed, settings.data_unit == STUDY
    name = f"phantom-{patients}-patients-seed-{seed}{'-studies' if laterals else ''}"
    uri = storage.join(settings.data_source, name)
    # The list is written last. A dataset of an older version without boxes is generated again.
    if all(storage.exists(storage.join(uri, name)) for name in (chestxray14.LISTS["test"], chestxray14.BOX_TABLE)):
        log.info("phantom dataset found at %s", uri)
        return uri
    log.info("generating a phantom dataset of %d patients in %s", patients, uri)
    _write_in_order(generate_phantom_files(patients, seed, laterals=laterals), uri)
    return uri


def _write_in_order(files: Iterable[tuple[str, bytes]], uri: str) -> None:
    """Writes files below `uri`: images in parallel while the next are drawn, and each table after all files before."""
    pending = deque[Future[None]]()
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        for number, (name, content) in enumerate(files, 1):
            allowed = storage.PARALLEL_TRANSFERS if name.endswith(".png") else 0
            while len(pending) > allowed:
                pending.popleft().result()
            pending.append(pool.submit(storage.write_bytes, storage.join(uri, name), content))
            if number % 100 == 0:
                log.debug("%d files written", number)
        for upload in pending:
            upload.result()


READERS: dict[str, Callable[[Ingest], Source]] = {  # by data_format
    "chestxray14": lambda settings: chestxray14.read(
        settings.data_source, settings.findings(), settings.data_covariates, settings.table_layout().separator
    ),
    "chexpert": lambda settings: chexpert.read(settings.data_source, settings.table_layout(), settings.findings()),
    "dicom": read_dicom,
    "folders": lambda settings: image_folder.read(settings.data_source, settings.findings()),
    "medmnist": lambda settings: medmnist.read(settings.data_source, settings.findings()),
    "mimic": read_archive,
    "padchest": read_archive,
    "phantom": read_phantom,
    "rsna": read_archive,
    "table": lambda settings: table.read(
        settings.data_source,
        settings.table_layout(),
        settings.findings(),
        numeric=settings.data_task == REGRESSION,
    ),
    "vindr": read_archive,
}


def _read_any_images(settings: Ingest) -> Source:
    """Reads image files at any depth; patient ids come from file names that follow Kermany's naming."""
    listed = listing.list_images(listing.list_source(settings.data_source))
    images = listed.images.assign(view=None, sex=None, age=float("nan"))
    images["patient_id"] = images["path"].map(image_folder.kermany_patient).astype("string")
    return _unlabeled_source(settings.data_source, images, listed.excluded)


def _read_any_dicom(settings: Ingest) -> Source:
    """Reads DICOM files at any depth; patient, view, age and sex come from the tags, and tables are ignored."""
    from radiograft.data.sources.dicom import radiographs

    images, excluded, _ = radiographs(listing.list_source(settings.data_source), settings.deidentifies())
    return _unlabeled_source(settings.data_source, images, excluded)


def _unlabeled_source(uri: str, images: pd.DataFrame, excluded: pd.DataFrame) -> Source:
    rows = images.rename(columns={"path": "image_id"})
    rows["patient_id"], notes = patient_ids(rows["patient_id"], rows["image_id"])
    return Source(uri, rows, pd.DataFrame(index=rows.index), excluded, notes)


# The other formats are published datasets, whose tables always contain the findings.
UNLABELED_READERS: dict[str, Callable[[Ingest], Source]] = READERS | {
    "dicom": _read_any_dicom,
    "folders": _read_any_images,
    "table": lambda settings: table.read(settings.data_source, settings.table_layout(), labeled=False),
}
