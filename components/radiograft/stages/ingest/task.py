"""Ingest: builds the catalog from a data source. It does not import TensorFlow and starts in about a second."""

from __future__ import annotations

import dataclasses
import logging
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from radiograft.config import NO_FINDING, ExtractFeatures, Ingest, Preprocess
from radiograft.config.base import Scalar, parse_columns, record, record_settings
from radiograft.config.combinations import check_pooling_of_task
from radiograft.config.data import MULTICLASS, REGRESSION
from radiograft.config.data_policy import FAIL, LEAK
from radiograft.config.network import FRONTAL_LATERAL
from radiograft.config.patient_data import covariate_column
from radiograft.config.resolution import SUPER_RESOLUTION, TRANSFER_LEARNING
from radiograft.data import change_detection, splits, studies, tasks
from radiograft.data.catalog import (
    Catalog,
    check_classes,
    label_column,
    summarize_exclusions,
)
from radiograft.data.deidentify import deidentify
from radiograft.data.enlargement import find_enlargement
from radiograft.data.patient_data import check_covariate_columns, type_covariates
from radiograft.data.quality import readers, row_checks
from radiograft.data.quality.filter import DataFilter
from radiograft.data.soft_labels import majority_class
from radiograft.data.sources.base import Source, check_known_labels, contained_notes, match_labels
from radiograft.data.sources.boxes import check_training_boxes, without_refuted_boxes
from radiograft.data.sources.readers import FORMATS_WITH_FIXED_LABELS, READERS
from radiograft.data.split_advice import advise_splits
from radiograft.metrics.patient_data import check_disguised_labels
from radiograft.models.covariates import Covariate
from radiograft.registry.generators import check_name
from radiograft.registry.results import ReaderAgreement
from radiograft.storage.pseudonyms import redact_names
from radiograft.utils.quoting import quote_name

log = logging.getLogger(__name__)

MAX_LISTED = 5  # labels in a line of the log


def run_with_all_settings(
    form: Mapping[str, Scalar], output: Path, run_id: str, pipeline: str = TRANSFER_LEARNING
) -> bool:
    """Runs ingest and records the settings of all stages.

    Returns:
        Whether data or settings changed since the version in production.

    Raises:
        FileNotFoundError: as `run`, or image_super_resolution does not exist.
        ValueError: as `run`, or the data or the registry lack what the settings of a later stage need.
    """
    preprocess = Preprocess.of(form)
    find_enlargement(preprocess, preprocess.channels())
    registry, name = (str(form[key]) for key in ("publish_registry", "publish_model_name"))
    check_name(registry, name, generators=pipeline == SUPER_RESOLUTION)
    patient_data = ExtractFeatures.of(form).patient_data()
    catalog = run(Ingest.of(form), output, int(form["train_batch_size"]), patient_data)
    _check_data_of_network(catalog, form)
    record(output, form)
    return change_detection.detect_changes(form, catalog, output, run_id).changed


def _check_data_of_network(catalog: Catalog, form: Mapping[str, Scalar]) -> None:
    """Rejects data from which the network of these settings cannot learn, before they are read."""
    check_pooling_of_task(catalog.task, form)
    if form["model_views"] == FRONTAL_LATERAL:
        studies.check_laterals(catalog.rows)
    if form["train_box_weight"]:
        check_training_boxes(catalog.rows, catalog.boxes, catalog.labels)


def run(settings: Ingest, output: Path, batch_size: int = 1, patient_data: Sequence[str] = ()) -> Catalog:
    """Reads the source, excludes unusable images, splits by patient and writes the catalog to `output`.

    Args:
        settings: Source, labels and splits.
        output: Folder.
        batch_size: `train_batch_size`; a note says if it is larger than the training set.
        patient_data: Columns that the model reads.

    Raises:
        ValueError: A label is unknown, a column of patient data gives a label away, a defect is set to fail in
            data_policy, images do not have exactly one class although data_task requires it, no label has both classes
            in training and in validation, the test split is empty, or the reader rejects the source. Nothing is
            written.
        FileNotFoundError: The source, its table or an official list is missing.
    """
    catalog = build_catalog(settings)
    _check_patient_data(catalog, settings, patient_data)
    images = int(catalog.rows["split"].eq("train").sum())
    if batch_size > images:
        note = f"train_batch_size is {batch_size}, but there are {images} training images: training lowers it"
        catalog = dataclasses.replace(catalog, notes=(*catalog.notes, note))
    catalog.write(output)
    record_settings(output, settings)
    _report(catalog)
    return catalog


def _check_patient_data(catalog: Catalog, settings: Ingest, names: Sequence[str]) -> None:
    """Rejects patient data that cannot be encoded, or that give a label away."""
    insisted = parse_columns("data_covariates_insist", settings.data_covariates_insist)
    train = catalog.rows[catalog.rows["split"].eq("train")]
    for name in names:
        Covariate.fit(name, train[covariate_column(name)])
    used = list(dict.fromkeys([*names, *settings.covariates()]))
    check_disguised_labels(train, catalog.labels, used, insisted, catalog.task)


def build_catalog(settings: Ingest) -> Catalog:
    """Builds the catalog without writing it; raises as `run` does."""
    labels = settings.findings()
    with redact_names(private_folders(settings)):
        source = match_labels(READERS[settings.data_format](settings), labels)
        if settings.data_labels != "all" or settings.data_format not in FORMATS_WITH_FIXED_LABELS:
            alone = {NO_FINDING} if len(labels) == 1 else set()  # a label of its own only beside findings
            check_known_labels(labels, set(map(str, source.findings)) - alone)
    check_covariate_columns(source.rows, settings.covariates(), settings.data_format)
    source, agreement = readers.merge_readings(source._replace(rows=type_covariates(source.rows)), settings)
    source = studies.group_images(without_refuted_boxes(source), settings)
    if settings.deidentifies():
        source = deidentify(source)
    data_filter = DataFilter(settings.policy())
    data_filter.add_excluded(source.excluded)
    rows = _split(source, settings, data_filter)
    rows = select_rows(rows, source.findings, settings, data_filter)
    classes = _classes(source.findings, settings)
    choice = _resolve_task(rows, settings, classes.loc[rows.index])
    _check_classes(rows, settings, choice.task, data_filter.excluded())
    return Catalog(
        rows=rows.drop(columns="official").reset_index(drop=True),
        labels=labels,
        excluded=data_filter.excluded(),
        source=source.uri,
        notes=_notes(source, agreement, rows, classes, choice.task, settings),
        readers=tuple(agreement),
        boxes=source.boxes,
        quarantine=data_filter.quarantine(),
        suspects=data_filter.flagged(),
        files=source.files,
        task=choice.task,
        task_reason=choice.reason,
    )


def _notes(
    source: Source,
    agreement: Sequence[ReaderAgreement],
    rows: pd.DataFrame,
    classes: pd.DataFrame,
    task: str,
    settings: Ingest,
) -> tuple[str, ...]:
    """Returns the notes of the data report."""
    labels = settings.findings()
    of_classes = labels if list(classes) else ()
    return (
        *source.notes,
        *row_checks.view_notes(source.rows["view"], settings.table_layout().views, named=has_public_views(settings)),
        *readers.agreement_notes(agreement, settings.data_readers),
        *row_checks.duplicate_notes(rows),
        *readers.soft_notes(source, of_classes),
        *_box_notes(settings.data_box_training_fraction),
        *row_checks.label_notes(classes, labels),
        *row_checks.single_patient_notes(rows, of_classes),
        *tasks.exclusive_pair_notes(task, labels),
        *contained_notes(classes, [label for label in labels if label in classes], named=not settings.deidentifies()),
    )


def _classes(findings: pd.DataFrame, settings: Ingest) -> pd.DataFrame:
    """Returns the class of each finding, see `majority_class`; without columns if the findings are numbers."""
    return findings[[]] if settings.data_task == REGRESSION else majority_class(findings)


def _resolve_task(rows: pd.DataFrame, settings: Ingest, findings: pd.DataFrame) -> tasks.TaskChoice:
    labels = settings.findings()
    truth = rows[[label_column(label) for label in labels]].set_axis(list(labels), axis="columns")
    return tasks.resolve_task(settings.data_task, truth, findings, named=not settings.deidentifies())


def select_rows(rows: pd.DataFrame, findings: pd.DataFrame, settings: Ingest, data_filter: DataFilter) -> pd.DataFrame:
    """Adds the label columns and excludes rows that are unusable, contradictory or exact duplicates.

    Args:
        rows: rows with a split, as `Source.rows`.
        findings: as `Source.findings`; may have more rows.
        settings: labels, views and negatives.
        data_filter: records what is excluded.

    Raises:
        ValueError: a defect is set to fail in data_policy.
    """
    labels = settings.findings()
    rows = rows.assign(**{label_column(label): findings.get(label, 0.0) for label in labels})
    if settings.data_task == MULTICLASS:
        columns = [label_column(label) for label in labels]
        rows[columns] = tasks.exclude_other_classes(rows[columns])
    rows = data_filter.apply(rows, row_checks.check_rows(rows, _classes(findings.loc[rows.index], settings), settings))
    images = studies.images_of(rows)
    kept = data_filter.apply(images, row_checks.find_contradictory_copies(images, labels, settings.data_task))
    kept = data_filter.apply(kept, row_checks.find_exact_duplicates(kept))
    rows = studies.keep_images(rows, kept)
    data_filter.raise_on_failures()
    return rows


def _check_classes(rows: pd.DataFrame, settings: Ingest, task: str, excluded: pd.DataFrame) -> None:
    try:
        check_classes(rows, settings.findings(), excluded, task)
    except ValueError as error:
        advice = "" if task == REGRESSION else advise_splits(rows, settings, task)
        raise ValueError(f"{error}; {advice}" if advice else str(error)) from None


def has_public_views(settings: Ingest) -> bool:
    """Returns whether notes may list views: the tags' come from a fixed list; a table's column may hold anything."""
    from_tags = settings.data_format == "dicom" and not settings.table_layout().named("view")
    return from_tags or not settings.deidentifies()


def private_folders(settings: Ingest) -> list[str]:
    """Returns the folder whose file names must not appear in errors, if data are deidentified."""
    if not settings.deidentifies():
        return []
    source = settings.data_source  # for `table` the file, whose folder contains the images
    return [(posixpath.dirname(source) or ".") if settings.data_format == "table" else source]


def _box_notes(fraction: float) -> list[str]:
    note = (
        f"{fraction:.0%} of the test patients with boxes were moved to training: the test split is not the official one"
    )
    return [note] if fraction else []


def _split(source: Source, settings: Ingest, data_filter: DataFilter) -> pd.DataFrame:
    """Adds the split. If the policy allows it, a patient in several official splits stays in only one of them."""
    rows = source.rows
    if data_filter.policy.treatment(LEAK) != FAIL:
        rows = data_filter.apply(rows, {LEAK: splits.find_leaks(rows)})
    chosen = splits.assign_splits(
        rows,
        validation_fraction=settings.data_validation_fraction,
        test_fraction=settings.data_test_fraction,
        seed=settings.train_seed,
    )
    splits.check_patients(rows)
    boxed = rows["image_id"].isin(source.boxes["image_id"][source.boxes["finding"].isin(settings.findings())])
    fraction, seed = settings.data_box_training_fraction, settings.train_seed
    return rows.assign(
        split=splits.move_boxed_patients(chosen, rows["patient_id"], boxed, fraction=fraction, seed=seed)
    )


def _report(catalog: Catalog) -> None:
    summary = catalog.summary()
    log.info(
        "%d images of %d patients, fingerprint %s",
        len(catalog.rows),
        catalog.rows["patient_id"].nunique(),
        summary["fingerprint"][:12],
    )
    log.info("task: %s, because %s", catalog.task, catalog.task_reason)
    for name, count in summary["splits"].items():
        listed = list(count["positives"].items())[:MAX_LISTED]
        positives = ", ".join(f"{number} {quote_name(label)}" for label, number in listed)
        log.info("  %-10s %6d images  %6d patients  %s", name, count["pictures"], count["patients"], positives)
    for note in summary["notes"]:
        log.warning("  warning: %s", note)
    for group in summarize_exclusions(catalog.suspects):
        log.warning("  suspect    %6d: %s, e.g. %s", group["count"], group["reason"], ", ".join(group["examples"][:2]))
    for group in summary["excluded"]:
        log.info("  left out   %6d: %s, e.g. %s", group["count"], group["reason"], ", ".join(group["examples"][:2]))
