"""The catalog: one row per image found by ingest, and the images and rows it excluded with the reason."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from radiograft.config.data import MULTICLASS, MULTILABEL, REGRESSION
from radiograft.data.file_counts import FileCounts, count_files, files_from_json
from radiograft.data.fingerprint import fingerprint
from radiograft.data.soft_labels import majority_class
from radiograft.data.targets import check_targets, summarize_targets
from radiograft.registry.results import ReaderAgreement

SPLITS = ("train", "validation", "test")
MAX_EXAMPLES = 5
TABLES = ("excluded", "boxes", "quarantine", "suspects")  # stored beside the rows of a catalog
LATERAL = {"lateral": "uri", "lateral_id": "image_id", "lateral_md5": "md5", "lateral_bytes": "bytes"}  # of images
CORNERS = ["x", "y", "width", "height"]
BOX_COLUMNS = dict.fromkeys(("image_id", "finding"), "string") | dict.fromkeys(CORNERS, "float64")


def label_column(label: str) -> str:
    """Returns the name of a label's ground-truth column: 1.0 (present), 0.0 (absent) or, if soft, between them.

    Example:
        >>> label_column("Mass")
        'label:Mass'
    """
    return f"label:{label}"


def truth_of(rows: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Returns the label columns of catalog rows under the names of the labels."""
    return rows[list(map(label_column, labels))].set_axis(list(labels), axis="columns")


def label_class(rows: pd.DataFrame, label: str) -> pd.Series[float]:
    """Returns the class of each catalog row: 1.0, 0.0 or NaN, see `majority_class`."""
    return majority_class(rows[label_column(label)])


def with_classes(rows: pd.DataFrame, labels: Iterable[str]) -> pd.DataFrame:
    """Returns the catalog rows with classes in place of soft labels, see `majority_class`."""
    return rows.assign(**{label_column(label): label_class(rows, label) for label in labels})


def score_column(label: str) -> str:
    """Returns the name of the column with the predicted probability of a label."""
    return f"score:{label}"


def prediction_frame(rows: pd.DataFrame, labels: Sequence[str], scores: np.ndarray) -> pd.DataFrame:
    """Returns ground truth and predictions: image_id, patient_id, split, `label:<name>` and `score:<name>`.

    Args:
        rows: catalog rows.
        labels: names of the labels.
        scores: float32 [rows, labels], predicted probabilities.
    """
    frame = rows[["image_id", "patient_id", "split", *map(label_column, labels)]].copy()
    for number, label in enumerate(labels):
        frame[score_column(label)] = scores[:, number].astype("float64")
    return frame


def no_boxes() -> pd.DataFrame:
    """Returns an empty table of bounding boxes: image_id, finding and CORNERS.

    CORNERS are x and y of the upper left corner, width and height, as fractions of the image size.
    """
    return pd.DataFrame(columns=list(BOX_COLUMNS)).astype(BOX_COLUMNS)


def no_suspects() -> pd.DataFrame:
    """Returns an empty table of images to review: image_id, uri (missing if only a table names it) and reason."""
    return pd.DataFrame(columns=["image_id", "uri", "reason"], dtype="string")


def exclusion(image_ids: Iterable[str], reason: str) -> pd.DataFrame:
    """Returns a table of excluded images or rows: `image_id` and `reason`."""
    return pd.DataFrame({"image_id": list(image_ids), "reason": reason}, dtype="string")


def summarize_exclusions(excluded: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns one entry per reason with its count and first few image IDs, most frequent first."""
    groups = [
        {"reason": str(reason), "count": len(rows), "examples": sorted(rows["image_id"])[:MAX_EXAMPLES]}
        for reason, rows in excluded.groupby("reason")
    ]
    return sorted(groups, key=lambda group: (-group["count"], group["reason"]))


def count_images(rows: pd.DataFrame) -> int:
    """Returns the number of images of catalog rows, with the second images of studies."""
    return len(rows) + (int(rows["lateral"].notna().sum()) if "lateral" in rows else 0)


def count_splits(rows: pd.DataFrame, labels: Sequence[str], task: str = MULTILABEL) -> dict[str, dict[str, Any]]:
    """Returns the number of images, patients and positives of each label by split; of numbers, their `targets`."""
    if task == REGRESSION:
        return {
            split: {**counts, "targets": summarize_targets(part["patient_id"], truth_of(part, labels))}
            for split, counts in count_splits(rows, ()).items()
            for part in [rows[rows["split"] == split]]
        }
    positives = majority_class(rows[list(map(label_column, labels))]).groupby(rows["split"]).sum()
    positives = positives.reindex(list(SPLITS), fill_value=0.0).astype("int64")
    return {
        split: {
            "pictures": len(patients),
            "patients": int(patients.nunique()),
            "positives": dict(zip(labels, numbers, strict=True)),
        }
        for split, numbers in zip(SPLITS, positives.to_numpy().tolist(), strict=True)
        for patients in [rows["patient_id"][rows["split"] == split]]
    }


def has_both_classes(truth: ArrayLike) -> bool:
    """Returns whether a label has both positives (1.0) and negatives (0.0); NaN is neither.

    Example:
        >>> has_both_classes([0.0, 1.0, float("nan")])
        True
    """
    values = np.asarray(truth, np.float64)
    return bool((values == 0.0).any() and (values == 1.0).any())


def estimable_labels(rows: pd.DataFrame, labels: Sequence[str], split: str) -> list[str]:
    """Returns the labels that have both positives and negatives in the split."""
    part = rows.loc[rows["split"] == split, list(map(label_column, labels))]
    return [label for label in labels if has_both_classes(label_class(part, label))]


def check_classes(
    rows: pd.DataFrame, labels: Sequence[str], excluded: pd.DataFrame | None = None, task: str = MULTILABEL
) -> list[str]:
    """Rejects data that cannot be trained on, and returns a note for each split with labels that are not estimable.

    Args:
        rows: catalog rows.
        labels: names of the labels.
        excluded: image_id and reason of what was left out, for the message.
        task: `multiclass` requires every class in training; for `regression` see `check_targets`.

    Raises:
        ValueError: no label has both classes in training and validation, the test split is empty, or training lacks an
            exclusive class.
    """
    if task == REGRESSION:
        parts = {split: truth_of(rows[rows["split"] == split], labels) for split in SPLITS}
        return check_targets(parts, describe_exclusions(excluded))
    estimable = {split: estimable_labels(rows, labels, split) for split in SPLITS}
    counts = count_splits(rows, labels)
    missing = [label for label, number in counts["train"]["positives"].items() if not number]
    if task == MULTICLASS and missing and len(missing) < len(labels):
        raise ValueError(
            f"training must hold images of every class, and has none of {', '.join(missing)}; "
            f"got {_format_counts(counts)}" + describe_exclusions(excluded)
        )
    if not set(estimable["train"]) & set(estimable["validation"]) or not counts["test"]["pictures"]:
        raise ValueError(
            "training and validation must hold images with and without the finding, and test must not be empty; "
            f"got {_format_counts(counts)}" + describe_exclusions(excluded)
        )
    return [
        f"not estimable on {split} ({counts[split]['pictures']} images), where all or no images are positive: "
        + ", ".join(label for label in labels if label not in estimable[split])
        for split in SPLITS
        if len(estimable[split]) < len(labels)
    ]


def describe_exclusions(excluded: pd.DataFrame | None) -> str:
    """Returns how many images and rows were left out and for which reasons, as the end of a sentence.

    Example:
        >>> describe_exclusions(exclusion(["1.png", "2.png"], "empty file"))
        '; 2 images or rows were left out: 2 empty file'
    """
    if excluded is None or excluded.empty:
        return ""
    reasons = ", ".join(f"{group['count']} {group['reason']}" for group in summarize_exclusions(excluded))
    return f"; {len(excluded)} images or rows were left out: {reasons}"


def _format_counts(counts: dict[str, dict[str, Any]]) -> str:
    return "; ".join(
        f"{split}: {count['pictures']} images, "
        + ", ".join(f"{number} with {label}" for label, number in count["positives"].items())
        for split, count in counts.items()
    )


@dataclasses.dataclass(frozen=True)
class Catalog:
    """The images of a dataset with labels and splits, and what was excluded.

    Attributes:
        rows: one row per image, ordered by image_id, which is unique. Columns: image_id, uri, md5 (hex), bytes,
            patient_id, view, age (years), sex, split, `label:<name>` (0 to 1, or any number for `regression`; NaN if
            unknown) and, if there are some, `covariate:<name>` (float64, or string for categories). A `uri` names a
            file, a member of an archive (see `archive`), a hashed path (see `pseudonyms`) or a row of an array (see
            `npz_archive`). For a row of an array, md5 and bytes are those of its pixels. With
            `data_unit=study` also study_id and the columns LATERAL of the second image: lateral (its URI, missing if it
            has none or it was excluded), lateral_id, lateral_md5 and lateral_bytes.
        labels: names of the labels.
        excluded: image_id and reason.
        source: URI of the dataset.
        notes: limitations of the dataset.
        boxes: bounding boxes of findings, see `no_boxes`. They are not trained on and not part of the fingerprint.
        quarantine: the excluded images to review, see `no_suspects`.
        suspects: images that are kept although they may be defective, see `no_suspects`.
        readers: how far readers agree about each label, if images have several readings.
        files: numbers of the files below the source; None if it is an archive of arrays.
        task: what is learned from the labels, one of `radiograft.config.data.TASKS`. The columns of the classes of
            `multiclass` hold 1.0 for the class of the image and 0.0 for all others, or NaN if its class is unknown.
        task_reason: why, as a clause.
    """

    rows: pd.DataFrame
    labels: tuple[str, ...]
    excluded: pd.DataFrame
    source: str
    notes: tuple[str, ...] = ()
    boxes: pd.DataFrame = dataclasses.field(default_factory=no_boxes)
    quarantine: pd.DataFrame = dataclasses.field(default_factory=no_suspects)
    suspects: pd.DataFrame = dataclasses.field(default_factory=no_suspects)
    readers: tuple[ReaderAgreement, ...] = ()
    files: FileCounts | None = None
    task: str = MULTILABEL
    task_reason: str = ""

    def fingerprint(self) -> str:
        """Returns the SHA-256 of images, patients, labels and splits. Equal data give equal values on any machine."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.rows.sort_values("image_id"), list(map(label_column, self.labels)))

    def summary(self) -> dict[str, Any]:
        """Returns counts for reports and logs. They include image IDs but no image content.

        Raises:
            ValueError: the data cannot be trained on, see `check_classes`.
        """
        return self._summary

    @functools.cached_property
    def _summary(self) -> dict[str, Any]:
        return {
            "labels": list(self.labels),
            "task": self.task,
            "task_reason": self.task_reason,
            "source": self.source,
            "fingerprint": self.fingerprint(),
            "splits": count_splits(self.rows, self.labels, self.task),
            "source_notes": list(self.notes),
            "notes": [*self.notes, *check_classes(self.rows, self.labels, self.excluded, self.task)],
            "excluded": summarize_exclusions(self.excluded),
            "readers": list(self.readers),
            "files": count_files(self.files, count_images(self.rows), self.excluded),
        }

    def write(self, folder: Path) -> None:
        """Writes catalog.parquet, {excluded,boxes,quarantine,suspects}.parquet and, last, catalog.json to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.rows.to_parquet(folder / "catalog.parquet", index=False)
        for name in TABLES:
            getattr(self, name).to_parquet(folder / f"{name}.parquet", index=False)
        (folder / "catalog.json").write_text(json.dumps(self.summary(), indent=2))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads a catalog that `write` wrote."""
        summary = json.loads((folder / "catalog.json").read_text())
        return cls(
            rows=pd.read_parquet(folder / "catalog.parquet"),
            labels=tuple(summary["labels"]),
            task=summary.get("task", MULTILABEL),
            task_reason=summary.get("task_reason", ""),
            source=summary["source"],
            files=files_from_json(summary.get("files")),
            notes=tuple(summary["source_notes"]),
            readers=tuple(summary.get("readers", ())),
            **{name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES},
        )
