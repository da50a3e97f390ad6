"""Ingest: from a data source to the catalogue. Needs no TensorFlow and starts in about a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from components import storage
from components.config import NO_FINDING, Ingest
from components.ingest import chestxray14, medmnist, repeats, split
from components.ingest.phantom import phantom_files
from components.ingest.source import Source, check_known
from components.records import Catalogue, check_classes, exclusion, label_column
from components.settings_record import record_settings
from components.stage import log

READERS: dict[str, Callable[[Ingest], Source]] = {  # by data_format
    "chestxray14": lambda settings: chestxray14.read(settings.data_source),
    "medmnist": lambda settings: medmnist.read(settings.data_source, settings.findings()),
    "phantom": lambda settings: chestxray14.read(generate_phantom(settings)),
}


def run(settings: Ingest, output: Path) -> Catalogue:
    """Reads the source, sets aside what cannot be used, splits by patient and writes the catalogue to `output`.

    Raises:
        ValueError: unknown label, patient overlap between the official lists, no label with both classes in each
            split, or what a reader refuses. Nothing is written then.
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
    if storage.exists(storage.join(uri, chestxray14.LISTS["test"])):  # the file that is written last
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
    source = READERS[settings.data_format](settings)
    if settings.data_labels != "all":
        check_known(labels, set(map(str, source.findings)) - {NO_FINDING})
    rows, excluded = source.rows, [source.excluded]
    rows["split"] = split.assign(
        rows,
        validation_fraction=settings.data_validation_fraction,
        test_fraction=settings.data_test_fraction,
        seed=settings.train_seed,
    )
    for label in labels:
        rows[label_column(label)] = source.findings.get(label, 0.0)
    for reason, unusable in _defects(rows, source.findings, settings).items():
        unusable = unusable.reindex(rows.index)
        excluded.append(exclusion(rows["image_id"][unusable], reason))
        rows = rows[~unusable]
    check_classes(rows, labels)
    notes = (*source.notes, *repeats.notes(rows))
    rows = rows.drop(columns="official").reset_index(drop=True)
    return Catalogue(rows, labels, pd.concat(excluded, ignore_index=True), source.uri, notes)


def _defects(rows: pd.DataFrame, findings: pd.DataFrame, settings: Ingest) -> dict[str, pd.Series[bool]]:
    """Rows that cannot be used, by reason; a row counts under its first reason."""
    defects = {
        "empty file": rows["bytes"] == 0,
        "in neither official list": rows["split"].isna(),
    }
    if settings.data_negatives == "no_finding":
        positive = rows[[label_column(label) for label in settings.findings()]].any(axis="columns")
        marked = (findings.get(NO_FINDING, 0.0) == 1.0) & (findings.sum(axis="columns") == 1.0)
        defects["neither a finding asked for nor 'No Finding'"] = ~positive & ~marked
    unusable = pd.DataFrame(defects).any(axis="columns")
    return defects | repeats.defects(rows[~unusable])


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
    for group in summary["excluded"]:
        log.info("  left out   %6d: %s, e.g. %s", group["count"], group["reason"], ", ".join(group["examples"][:2]))
