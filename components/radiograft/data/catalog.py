"""The catalog: what ingest found, one row an image, and what it left out and why."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

SPLITS = ("train", "validation", "test")
MAX_EXAMPLES = 5
TABLES = ("excluded", "boxes", "quarantine", "suspects")  # of a catalog, beside its rows
CORNERS = ["x", "y", "width", "height"]
BOX_COLUMNS = dict.fromkeys(("image_id", "finding"), "string") | dict.fromkeys(CORNERS, "float64")


def label_column(label: str) -> str:
    """Name of the column that holds a label's truth: 1.0 present, 0.0 absent."""
    return f"label:{label}"


def score_column(label: str) -> str:
    """Name of the column that holds a model's probability for a label."""
    return f"score:{label}"


def prediction_frame(rows: pd.DataFrame, labels: Sequence[str], scores: np.ndarray) -> pd.DataFrame:
    """Predictions beside the truth: image_id, patient_id, split, `label:<name>` and `score:<name>`.

    Args:
        scores: float32 [rows, labels], probabilities in the order of rows and labels.
    """
    frame = rows[["image_id", "patient_id", "split", *map(label_column, labels)]].copy()
    for number, label in enumerate(labels):
        frame[score_column(label)] = scores[:, number].astype("float64")
    return frame


def no_boxes() -> pd.DataFrame:
    """An empty table of boxes around findings: image_id, finding, and CORNERS, which are x and y of the upper
    left corner, width and height, as fractions of the image."""
    return pd.DataFrame(columns=list(BOX_COLUMNS)).astype(BOX_COLUMNS)


def no_suspects() -> pd.DataFrame:
    """An empty table of images to be looked at: image_id, uri (missing for what only a table names) and reason."""
    return pd.DataFrame(columns=["image_id", "uri", "reason"], dtype="string")


def exclusion(image_ids: Iterable[str], reason: str) -> pd.DataFrame:
    """Rows of what was set aside: `image_id` and `reason`."""
    return pd.DataFrame({"image_id": list(image_ids), "reason": reason}, dtype="string")


def summarize_exclusions(excluded: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry a reason with its count and its first few ids, most frequent first."""
    groups = [
        {"reason": str(reason), "count": len(rows), "examples": sorted(rows["image_id"])[:MAX_EXAMPLES]}
        for reason, rows in excluded.groupby("reason")
    ]
    return sorted(groups, key=lambda group: (-group["count"], group["reason"]))


def count_splits(rows: pd.DataFrame, labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Images, patients and positives a label in each split."""
    return {
        split: {
            "pictures": len(part),
            "patients": int(part["patient_id"].nunique()),
            "positives": {label: int(part[label_column(label)].sum()) for label in labels},
        }
        for split in SPLITS
        for part in [rows[rows["split"] == split]]
    }


def has_both_classes(truth: ArrayLike) -> bool:
    """Whether a label is present, 1.0, in some images and absent, 0.0, in others; NaN is neither."""
    return {0.0, 1.0} <= set(np.unique(truth))


def estimable_labels(rows: pd.DataFrame, labels: Sequence[str], split: str) -> list[str]:
    """The labels that are present in some images of the split and absent in others."""
    part = rows[rows["split"] == split]
    return [label for label in labels if has_both_classes(part[label_column(label)])]


def check_classes(rows: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """Refuses data on which nothing could be learned, and returns what limits the figures, a sentence each.

    Raises:
        ValueError: no label has both classes in training and in validation, or the test split is empty.
    """
    able = {split: estimable_labels(rows, labels, split) for split in SPLITS}
    counts = count_splits(rows, labels)
    if not set(able["train"]) & set(able["validation"]) or not counts["test"]["pictures"]:
        raise ValueError(
            "training and validation must hold images with and without the finding, and test must not be empty; "
            f"got {_describe(counts)}; add images, choose other data_labels or a larger data_validation_fraction"
        )
    return [
        f"not estimable on {split} ({counts[split]['pictures']} images), where all or no images are positive: "
        + ", ".join(label for label in labels if label not in able[split])
        for split in SPLITS
        if len(able[split]) < len(labels)
    ]


def _describe(counts: dict[str, dict[str, Any]]) -> str:
    return "; ".join(
        f"{split}: {count['pictures']} images, "
        + ", ".join(f"{number} with {label}" for label, number in count["positives"].items())
        for split, count in counts.items()
    )


@dataclasses.dataclass(frozen=True)
class Catalog:
    """Rows with columns image_id, uri, md5 (hex), bytes, patient_id, view, age (years), sex, split, `label:<name>`.

    `excluded` has image_id and reason. Rows are in order of image_id, which is unique. A `uri` names a file,
    also one in an archive (see `archives`) or by a hash (see `identity`), or a row of an array (see `npz`), whose md5
    and bytes are those of its pixels. `notes` are what the source itself limits.
    `boxes` (see `no_boxes`) show where findings are; they are no part of the fingerprint, for nothing learns from them.
    `quarantine` (see `no_suspects`) has those of `excluded` that somebody should look at, `suspects` the images that
    stay although they may be defective.
    """

    rows: pd.DataFrame
    labels: tuple[str, ...]
    excluded: pd.DataFrame
    source: str
    notes: tuple[str, ...] = ()
    boxes: pd.DataFrame = dataclasses.field(default_factory=no_boxes)
    quarantine: pd.DataFrame = dataclasses.field(default_factory=no_suspects)
    suspects: pd.DataFrame = dataclasses.field(default_factory=no_suspects)

    def fingerprint(self) -> str:
        """SHA-256 over images, patients, labels and splits: the same data give the same value on any machine."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        columns = ["image_id", "md5", "patient_id", "split", *map(label_column, self.labels)]
        text = self.rows.sort_values("image_id")[columns].to_csv(index=False, lineterminator="\n")
        return hashlib.sha256(text.encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """Counts for reports and logs; holds ids of images but nothing of their content."""
        return {
            "labels": list(self.labels),
            "source": self.source,
            "fingerprint": self.fingerprint(),
            "splits": count_splits(self.rows, self.labels),
            "source_notes": list(self.notes),
            "notes": [*self.notes, *check_classes(self.rows, self.labels)],
            "excluded": summarize_exclusions(self.excluded),
        }

    def write(self, folder: Path) -> None:
        """Writes catalog.parquet, {excluded,boxes,quarantine,suspects}.parquet and, last, catalog.json."""
        folder.mkdir(parents=True, exist_ok=True)
        self.rows.to_parquet(folder / "catalog.parquet", index=False)
        for name in TABLES:
            getattr(self, name).to_parquet(folder / f"{name}.parquet", index=False)
        (folder / "catalog.json").write_text(json.dumps(self.summary(), indent=2))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads what `write` wrote."""
        summary = json.loads((folder / "catalog.json").read_text())
        return cls(
            rows=pd.read_parquet(folder / "catalog.parquet"),
            labels=tuple(summary["labels"]),
            source=summary["source"],
            notes=tuple(summary["source_notes"]),
            **{name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES},
        )
