"""Ingest: from a data source to the catalogue. Needs no TensorFlow and starts in about a second."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from radiograft import storage
from radiograft.config import NO_FINDING, Ingest
from radiograft.config.base import Scalar
from radiograft.config.data_policy import FAIL, LEAK
from radiograft.config.record import record, record_settings
from radiograft.data import change_detection, splits
from radiograft.data.catalog import Catalogue, check_classes, label_column, summarise_exclusions
from radiograft.data.deidentify import deidentify
from radiograft.data.quality import exact_duplicates, row_checks
from radiograft.data.quality.filter import Sieve
from radiograft.data.sources import chestxray14, chestxray14_boxes, chexpert, image_folder, medmnist, table
from radiograft.data.sources.base import Source, check_known
from radiograft.data.synthetic.dataset import phantom_files
from radiograft.stages.runtime import log
from radiograft.storage.pseudonyms import names_hidden

SYNTHETIC = "the pictures are synthetic: figures on them say nothing about radiographs"


def read_dicom(settings: Ingest) -> Source:
    """Reads a tree of DICOM files, with pydicom, which no other source needs."""
    from radiograft.data.sources import dicom

    return dicom.read(settings.data_source, settings.table_layout(), refuse_burned_in=settings.deidentifies())


def read_phantom(settings: Ingest) -> Source:
    """Reads the phantom data set, after drawing it where it is not there yet."""
    source = chestxray14.read(generate_phantom(settings))
    return source._replace(notes=(SYNTHETIC, *source.notes))


READERS: dict[str, Callable[[Ingest], Source]] = {  # by data_format
    "chestxray14": lambda settings: chestxray14.read(settings.data_source),
    "chexpert": lambda settings: chexpert.read(settings.data_source, settings.table_layout()),
    "dicom": read_dicom,
    "folders": lambda settings: image_folder.read(settings.data_source),
    "medmnist": lambda settings: medmnist.read(settings.data_source, settings.findings()),
    "phantom": read_phantom,
    "table": lambda settings: table.read(settings.data_source, settings.table_layout()),
}
KNOW_ALL = (
    "chestxray14",
    "medmnist",
    "phantom",
)  # formats of which `all` names the findings, whether they occur or not


def run_form(form: Mapping[str, Scalar], output: Path, run_id: str) -> bool:
    """`run` with every setting of the run, all of which are recorded; tells whether there is anything to train on."""
    catalogue = run(Ingest.of(form), output)
    record(output, form)
    return change_detection.look(form, catalogue, output, run_id).train


def run(settings: Ingest, output: Path) -> Catalogue:
    """Reads the source, sets aside what cannot be used, splits by patient and writes the catalogue to `output`.

    Raises:
        ValueError: unknown label, a defect that data_policy lets fail, no label with both classes in each split, or
            what a reader refuses. Nothing is written then.
        FileNotFoundError: no such source, table or list.
    """
    catalogue = build_catalogue(settings)
    catalogue.write(output)
    record_settings(output, settings)
    _report(catalogue)
    return catalogue


def generate_phantom(settings: Ingest) -> str:
    """Writes a phantom data set below the source unless it is there, and returns its URI.

    Size and seed are part of the folder's name, so that a set is never taken for another one.
    """
    patients, seed = settings.data_phantom_patients, settings.train_seed
    uri = storage.join(settings.data_source, f"phantom-{patients}-patients-seed-{seed}")
    last, newest = (
        chestxray14.LISTS["test"],
        chestxray14_boxes.TABLE,
    )  # sets that were drawn without boxes are drawn again
    if all(storage.exists(storage.join(uri, name)) for name in (last, newest)):
        log.info("phantom data set found at %s", uri)
        return uri
    log.info("drawing a phantom data set of %d patients into %s", patients, uri)
    for number, (name, content) in enumerate(phantom_files(patients, seed), 1):
        storage.write_bytes(storage.join(uri, name), content)
        if number % 100 == 0:
            log.debug("%d pictures drawn", number)
    return uri


def build_catalogue(settings: Ingest) -> Catalogue:
    """The catalogue of the settings' source; raises as `run` does."""
    labels = settings.findings()
    with names_hidden(_private_folders(settings)):
        source = READERS[settings.data_format](settings)
        if settings.data_labels != "all" or settings.data_format not in KNOW_ALL:
            check_known(labels, set(map(str, source.findings)) - {NO_FINDING})
    if settings.deidentifies():
        source = deidentify(source)
    sieve = Sieve(settings.policy())
    sieve.note(source.excluded)
    rows = _split(source.rows, settings, sieve)
    for label in labels:
        rows[label_column(label)] = source.findings.get(label, 0.0)
    rows = sieve.sift(rows, row_checks.of_rows(rows, source.findings.loc[rows.index], settings))
    rows = sieve.sift(rows, exact_duplicates.defects(rows))
    sieve.refuse()
    check_classes(rows, labels)
    return Catalogue(
        rows=rows.drop(columns="official").reset_index(drop=True),
        labels=labels,
        excluded=sieve.excluded(),
        source=source.uri,
        notes=(*source.notes, *exact_duplicates.notes(rows), *row_checks.notes(source.findings, labels)),
        boxes=source.boxes,
        quarantine=sieve.quarantine(),
        suspects=sieve.suspects(),
    )


def _private_folders(settings: Ingest) -> list[str]:
    """The folder below which no error may tell a name, if any."""
    if not settings.deidentifies():
        return []
    source = settings.data_source  # of a table the file, beside which the pictures lie
    return [(posixpath.dirname(source) or ".") if settings.data_format == "table" else source]


def _split(rows: pd.DataFrame, settings: Ingest, sieve: Sieve) -> pd.DataFrame:
    """The rows with their split; of a patient in several official ones, where the policy bears it, in one."""
    if sieve.policy.treatment(LEAK) != FAIL:
        rows = sieve.sift(rows, {LEAK: splits.leaks(rows)})
    chosen = splits.assign(
        rows,
        validation_fraction=settings.data_validation_fraction,
        test_fraction=settings.data_test_fraction,
        seed=settings.train_seed,
    )
    return rows.assign(split=chosen)


def _report(catalogue: Catalogue) -> None:
    summary = catalogue.summary()
    log.info(
        "%d pictures of %d patients, fingerprint %s",
        len(catalogue.rows),
        catalogue.rows["patient_id"].nunique(),
        summary["fingerprint"][:12],
    )
    for name, count in summary["splits"].items():
        log.info("  %-10s %6d pictures  %6d patients", name, count["pictures"], count["patients"])
    for note in summary["notes"]:
        log.warning("  warning: %s", note)
    for group in summarise_exclusions(catalogue.suspects):
        log.warning("  suspect    %6d: %s, e.g. %s", group["count"], group["reason"], ", ".join(group["examples"][:2]))
    for group in summary["excluded"]:
        log.info("  left out   %6d: %s, e.g. %s", group["count"], group["reason"], ", ".join(group["examples"][:2]))
