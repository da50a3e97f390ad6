"""Reads another archive for the evaluation of a published version: images, common labels, and images already seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from radiograft.config import NO_FINDING, Ingest
from radiograft.config.base import did_you_mean
from radiograft.config.data import MULTICLASS
from radiograft.data import studies
from radiograft.data.catalog import Catalog, exclusion, label_column
from radiograft.data.deidentify import deidentify
from radiograft.data.quality import readers, row_checks
from radiograft.data.quality.filter import DataFilter
from radiograft.data.sources.base import MAX_CHARACTERS, MAX_LISTED, Source, contained_notes, match_labels
from radiograft.data.sources.readers import READERS
from radiograft.registry.external_results import CommonLabels, Overlap
from radiograft.stages.ingest.task import has_public_views, private_folders, select_rows
from radiograft.storage.pseudonyms import redact_names
from radiograft.utils.quoting import format_names, split_pair, split_quoted

SEEN = "seen by the version in training or validation"
SEEN_PATIENT = "of a patient seen by the version in training or validation"
NOT_IN_TEST = "not in the official test split"
OTHER_CLASS = "of none of the version's classes"


class SeenImages(NamedTuple):
    """What a version was trained and validated on.

    Attributes:
        images: patient_id and md5 of each image.
        source: their data source.
    """

    images: pd.DataFrame
    source: str


class Archive(NamedTuple):
    """The images of an archive that a version can be evaluated on.

    Attributes:
        rows: catalog rows with the common labels, all in the split `test`. If the classes are exclusive, these are all
            classes of the version, and every image has exactly one.
        labels: the labels of version and archive.
        overlap: how many images were left out because the version has seen them.
        excluded: image_id and reason of all images and rows that were left out.
        source: URI.
        fingerprint: SHA-256 of images, patients and labels.
        notes: limitations of the data.
    """

    rows: pd.DataFrame
    labels: CommonLabels
    overlap: Overlap
    excluded: pd.DataFrame
    source: str
    fingerprint: str
    notes: tuple[str, ...]


def parse_renamed(text: str, labels: Sequence[str]) -> dict[str, str]:
    """Parses `THEIRS=OURS,...`: the label of the version by finding of the archive. Several may have one label.

    Args:
        text: empty for none; a name that contains a comma is put in quotes.
        labels: the labels of the version.

    Raises:
        ValueError: the text has another form, a finding is repeated, or a label is unknown.

    Example:
        >>> parse_renamed("viral=Pneumonia,bacterial=Pneumonia", ["Pneumonia"])
        {'viral': 'Pneumonia', 'bacterial': 'Pneumonia'}
    """
    pairs = [split_pair(part) for part in split_quoted(text)] if text else []
    renamed = {theirs: ours for theirs, _, ours in pairs}
    if not all(theirs and separator for theirs, separator, _ in pairs) or len(renamed) < len(pairs):
        raise ValueError(f"labels must name each finding of the archive once as THEIRS=OURS,..., got {text!r}")
    for ours in renamed.values():
        if ours not in labels:
            raise ValueError(
                f"labels must rename findings to labels of the version, {', '.join(labels)}, got {ours!r}"
                + did_you_mean(ours, labels)
            )
    return renamed


def names_to_read(labels: Sequence[str], renamed: Mapping[str, str]) -> str:
    """Returns `data_labels` for the archive: the findings to rename, and the other labels of the version."""
    return format_names([*renamed, *(label for label in labels if label not in renamed.values())])


def read_archive(
    settings: Ingest, labels: Sequence[str], renamed: Mapping[str, str], seen: SeenImages, *, official_test: bool
) -> Archive:
    """Reads an archive with the reader of its format, without splits: all images are test images.

    Images that the version has seen in training or validation are left out, by their MD5. So are other images of their
    patients, and if the archive is the version's own source, images of patients with the same id. If the labels are
    exclusive classes, images of none of them are left out.

    Args:
        settings: format, source and policy; `data_labels` are the names by which the archive is read. With
            `data_task=multiclass` the labels are exclusive classes.
        labels: the labels of the version.
        renamed: finding of the archive -> label of the version.
        seen: what the version was trained on.
        official_test: use only the images of the archive's own test split.

    Raises:
        FileNotFoundError: the source is missing.
        ValueError: the reader rejects the source, no label is common, the archive has no test split, a defect is set to
            fail, an image has several exclusive classes, or no image is left.
    """
    with redact_names(private_folders(settings)):
        source = match_labels(READERS[settings.data_format](settings), settings.findings())
    source, _ = readers.merge_readings(source, settings)
    source = studies.group_images(source, settings)
    if settings.deidentifies():
        source = deidentify(source)
    source = source._replace(findings=rename_findings(source.findings, renamed))
    common = _compare_labels(source, labels, renamed, named=not settings.deidentifies())
    exclusive = settings.data_task == MULTICLASS
    settings = dataclasses.replace(settings, data_labels=format_names(labels if exclusive else common["common"]))
    data_filter = DataFilter(settings.policy())
    data_filter.add_excluded(source.excluded)
    rows, not_in_test = _choose_split(source.rows, official_test)
    rows = select_rows(rows, source.findings, settings, data_filter)
    rows, of_other_class = _select_classes(rows, labels) if exclusive else (rows, exclusion([], OTHER_CLASS))
    rows, overlap, left_out = _without_seen(rows, source.uri, seen)
    excluded = pd.concat([data_filter.excluded(), not_in_test, of_other_class, left_out], ignore_index=True)
    if rows.empty:
        raise ValueError(f"the archive must hold usable images that the version has not seen, got none{_why(excluded)}")
    rows = rows.drop(columns="official").reset_index(drop=True)
    if exclusive:
        common = _classes_with_images(common, rows, labels)
    catalog = Catalog(rows, settings.findings(), excluded, source.uri)
    notes = _notes(source, rows, settings)
    return Archive(rows, common, overlap, excluded, source.uri, catalog.fingerprint(), notes)


def rename_findings(findings: pd.DataFrame, renamed: Mapping[str, str]) -> pd.DataFrame:
    """Returns the findings with the names of the version's labels.

    A label that several findings have is present if one of them is, and unknown if none is present and one is unknown.

    Raises:
        ValueError: the archive lacks one of the findings.
    """
    missing = [theirs for theirs in renamed if theirs not in findings]
    if missing:
        raise ValueError(f"labels must rename findings of the archive, which lacks {', '.join(missing)}")
    by_label: dict[str, list[str]] = {}
    for theirs, ours in renamed.items():
        by_label.setdefault(ours, []).append(theirs)
    merged = {ours: _any_of(findings[theirs]) for ours, theirs in by_label.items()}
    return findings.drop(columns=list({*renamed, *by_label} & set(findings))).assign(**merged)


def _any_of(findings: pd.DataFrame) -> pd.Series[float]:
    is_open = findings.isna().any(axis="columns") & ~findings.eq(1.0).any(axis="columns")
    return findings.max(axis="columns").mask(is_open)


def _compare_labels(source: Source, labels: Sequence[str], renamed: Mapping[str, str], *, named: bool) -> CommonLabels:
    theirs = sorted({str(name) for name in source.findings} - ({NO_FINDING} - set(labels)))
    common = [label for label in labels if label in theirs]
    others = [name for name in theirs if name not in common and len(name) <= MAX_CHARACTERS] if named else []
    if not common:
        known = f"got {', '.join(others[:MAX_LISTED])}" if others else f"got {len(theirs)} others"
        raise ValueError(
            f"the archive must have a finding in common with the version, which predicts {', '.join(labels)}, {known}: "
            "name pairs with --labels THEIRS=OURS"
        )
    missing = [label for label in labels if label not in theirs]
    return {"common": common, "version_only": missing, "archive_only": others, "renamed": dict(renamed)}


def _select_classes(rows: pd.DataFrame, labels: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the images that have exactly one of the version's classes, and those that have none, as exclusions."""
    counts = rows[list(map(label_column, labels))].eq(1.0).sum(axis="columns")
    if counts.gt(1).any():
        raise ValueError(
            f"the archive must have exclusive classes, as the version has, got {int(counts.gt(1).sum())} images of "
            "several classes: correct their labels, or evaluate a version of independent labels"
        )
    return rows[counts.eq(1)], exclusion(rows["image_id"][counts.eq(0)], OTHER_CLASS)


def _classes_with_images(common: CommonLabels, rows: pd.DataFrame, labels: Sequence[str]) -> CommonLabels:
    """Returns the comparison of labels, in which a class without images counts as one that the archive lacks."""
    present = [label for label in labels if rows[label_column(label)].eq(1.0).any()]
    missing = [label for label in labels if label not in present]
    return {**common, "common": present, "version_only": missing}


def _choose_split(rows: pd.DataFrame, official_test: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the rows to evaluate, as test images, and those outside the official test split, if only that is used."""
    if not official_test:
        return rows.assign(official=pd.Series(None, rows.index, "string"), split="test"), exclusion([], NOT_IN_TEST)
    is_test = rows["official"].eq("test").fillna(False).astype(bool)
    if not is_test.any():
        raise ValueError("the archive must have an official test split, got none: leave out --official-test")
    return rows[is_test].assign(split="test"), exclusion(rows["image_id"][~is_test], NOT_IN_TEST)


def _without_seen(rows: pd.DataFrame, source: str, seen: SeenImages) -> tuple[pd.DataFrame, Overlap, pd.DataFrame]:
    same_image = rows["md5"].isin(seen.images["md5"])
    patients = set(rows["patient_id"][same_image])
    if source == seen.source:  # elsewhere equal ids may be those of different patients
        patients |= set(seen.images["patient_id"])
    same_patient = rows["patient_id"].isin(patients) & ~same_image
    overlap: Overlap = {
        "seen_images": int(same_image.sum()),
        "other_images_of_seen_patients": int(same_patient.sum()),
    }
    left_out = pd.concat(
        [exclusion(rows["image_id"][same_image], SEEN), exclusion(rows["image_id"][same_patient], SEEN_PATIENT)]
    )
    return rows[~same_image & ~same_patient], overlap, left_out


def _notes(source: Source, rows: pd.DataFrame, settings: Ingest) -> tuple[str, ...]:
    named, exclusive = has_public_views(settings), settings.data_task == MULTICLASS
    negative = [] if exclusive else settings.findings()  # images of other classes are left out, and are no negatives
    return (
        *source.notes,
        *row_checks.view_notes(source.rows["view"], settings.table_layout().views, named=named),
        *row_checks.duplicate_notes(rows.assign(official="test")),
        *row_checks.label_notes(source.findings, settings.findings()),
        *contained_notes(source.findings, negative, named=not settings.deidentifies()),
    )


def _why(excluded: pd.DataFrame) -> str:
    counts = excluded["reason"].value_counts()
    return ": " + ", ".join(f"{count} {reason}" for reason, count in counts.items()) if len(counts) else ""
