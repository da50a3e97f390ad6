"""The catalog: counts, notes, reading and writing, and the fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from radiograft.data.catalog import (
    Catalog,
    check_classes,
    count_splits,
    estimable_labels,
    exclusion,
    label_column,
    prediction_frame,
    score_column,
    summarize_exclusions,
)
from radiograft.data.file_counts import FileCounts, count_files

LABELS = ("Mass", "Edema")
ROWS: list[tuple[str, str, str, float, float]] = [
    ("1_0.png", "1", "train", 1.0, 0.0),
    ("1_1.png", "1", "train", 0.0, 0.0),
    ("2_0.png", "2", "validation", 1.0, 0.0),
    ("3_0.png", "3", "validation", 0.0, 1.0),
    ("4_0.png", "4", "test", 1.0, 1.0),
]


def make_rows(rows: list[tuple[str, str, str, float, float]] = ROWS) -> pd.DataFrame:
    names = ["image_id", "patient_id", "split", "label:Mass", "label:Edema"]
    frame = pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[:3], "string"))
    frame["md5"] = pd.Series([f"{number:032x}" for number in range(len(rows))], dtype="string")
    frame["uri"] = "/data/" + frame["image_id"]
    frame["bytes"], frame["age"], frame["sex"], frame["view"] = 100, 50.0, "F", "PA"
    return frame


def make_catalog(rows: pd.DataFrame | None = None, source: str = "/data") -> Catalog:
    excluded = exclusion(["9_0.png", "8_0.png"], "empty file")
    return Catalog(make_rows() if rows is None else rows, LABELS, excluded, source, ("a note",))


def test_column_names_contain_label() -> None:
    assert label_column("Pleural_Thickening") == "label:Pleural_Thickening"
    assert score_column("Pleural_Thickening") == "score:Pleural_Thickening"


def test_prediction_frame_contains_truth_and_scores() -> None:
    scores = np.array([[0.25, 0.5], [0.75, 1.0]], dtype="float32")
    frame = prediction_frame(make_rows().iloc[2:4], LABELS, scores)
    assert frame.to_dict("records") == [
        {
            "image_id": "2_0.png",
            "patient_id": "2",
            "split": "validation",
            "label:Mass": 1.0,
            "label:Edema": 0.0,
            "score:Mass": 0.25,
            "score:Edema": 0.5,
        },
        {
            "image_id": "3_0.png",
            "patient_id": "3",
            "split": "validation",
            "label:Mass": 0.0,
            "label:Edema": 1.0,
            "score:Mass": 0.75,
            "score:Edema": 1.0,
        },
    ]


def test_summarize_exclusions_sorts_reasons_by_count() -> None:
    excluded = pd.concat(
        [
            exclusion(["b", "a"], "empty file"),
            exclusion([f"{number}" for number in (7, 3, 5, 1, 4, 2, 6)], "row without an image"),
            exclusion([], "never happened"),
        ]
    )
    assert summarize_exclusions(excluded) == [
        {"reason": "row without an image", "count": 7, "examples": ["1", "2", "3", "4", "5"]},
        {"reason": "empty file", "count": 2, "examples": ["a", "b"]},
    ]


def test_count_splits_counts_images_patients_and_positives() -> None:
    assert count_splits(make_rows(), LABELS) == {
        "train": {"pictures": 2, "patients": 1, "positives": {"Mass": 1, "Edema": 0}},
        "validation": {"pictures": 2, "patients": 2, "positives": {"Mass": 1, "Edema": 1}},
        "test": {"pictures": 1, "patients": 1, "positives": {"Mass": 1, "Edema": 1}},
    }


def test_estimable_labels_require_both_classes() -> None:
    labels = [estimable_labels(make_rows(), LABELS, split) for split in ("train", "validation", "test")]
    assert labels == [["Mass"], ["Mass", "Edema"], []]


def test_check_classes_single_class_returns_note_by_split() -> None:
    assert check_classes(make_rows(), LABELS) == [
        "not estimable on train (2 images), where all or no images are positive: Edema",
        "not estimable on test (1 images), where all or no images are positive: Mass, Edema",
    ]


def test_check_classes_empty_test_split_raises_with_counts() -> None:
    rows = make_rows()
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        check_classes(rows[rows["split"] != "test"], LABELS)
    assert str(error.value) == (
        "training and validation must hold images with and without the finding, and test must not be empty; "
        "got train: 2 images, 1 with Mass, 0 with Edema; validation: 2 images, 1 with Mass, 1 with Edema; "
        "test: 0 images, 0 with Mass, 0 with Edema"
    )


def test_check_classes_counts_what_was_left_out() -> None:
    excluded = pd.concat([exclusion(["a", "b"], "empty file"), exclusion(["c"], "image without a row")])
    with pytest.raises(ValueError, match=r"; 3 images or rows were left out: 2 empty file, 1 image without a row$"):
        check_classes(make_rows().iloc[:0], LABELS, excluded)


def test_check_classes_exclusive_class_missing_in_training_raises_with_counts() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        check_classes(make_rows(), LABELS, task="multiclass")
    assert str(error.value) == (
        "training must hold images of every class, and has none of Edema; got train: 2 images, 1 with Mass, 0 with "
        "Edema; validation: 2 images, 1 with Mass, 1 with Edema; test: 1 images, 1 with Mass, 1 with Edema"
    )


def test_check_classes_exclusive_class_missing_in_test_returns_note() -> None:
    rows = make_rows()
    rows.loc[1, "label:Edema"] = 1.0
    assert check_classes(rows, LABELS, task="multiclass") == [
        "not estimable on test (1 images), where all or no images are positive: Mass, Edema"
    ]


def test_read_returns_task_and_reason(tmp_path: Path) -> None:
    catalog = dataclasses.replace(make_catalog(), task="binary", task_reason="there is one label")
    catalog.write(tmp_path)
    found = Catalog.read(tmp_path)
    assert (found.task, found.task_reason) == ("binary", "there is one label")


def test_read_catalog_without_task_returns_multilabel(tmp_path: Path) -> None:
    make_catalog().write(tmp_path)
    path = tmp_path / "catalog.json"
    written = json.loads(path.read_text())
    del written["task"], written["task_reason"]
    path.write_text(json.dumps(written))
    assert Catalog.read(tmp_path).task == "multilabel"


@pytest.mark.parametrize("split", ["train", "validation"])
def test_check_classes_empty_split_raises(split: str) -> None:
    rows = make_rows()
    with pytest.raises(ValueError, match=f"{split}: 0 images, 0 with Mass, 0 with Edema"):
        check_classes(rows[rows["split"] != split], LABELS)


def test_check_classes_no_common_estimable_label_raises() -> None:
    rows = make_rows()
    rows.loc[rows["split"] == "validation", "label:Mass"] = 0.0
    assert estimable_labels(rows, LABELS, "train") == ["Mass"]
    assert estimable_labels(rows, LABELS, "validation") == ["Edema"]
    with pytest.raises(ValueError, match="training and validation must hold images with and without the finding"):
        check_classes(rows, LABELS)


def test_catalog_write_and_read_round_trips(tmp_path: Path) -> None:
    catalog = make_catalog()
    catalog.write(tmp_path / "new" / "catalog")
    read = Catalog.read(tmp_path / "new" / "catalog")
    assert_frame_equal(read.rows, catalog.rows)
    assert_frame_equal(read.excluded, catalog.excluded)
    assert (read.labels, read.source, read.notes) == (LABELS, "/data", ("a note",))
    assert read.fingerprint() == catalog.fingerprint()


def test_catalog_write_creates_summary_json(tmp_path: Path) -> None:
    catalog = make_catalog()
    catalog.write(tmp_path)
    summary = json.loads((tmp_path / "catalog.json").read_text())
    assert list(summary) == [
        *("labels", "task", "task_reason", "source", "fingerprint", "splits", "source_notes", "notes", "excluded"),
        *("readers", "files"),
    ]
    assert summary["fingerprint"] == catalog.fingerprint()
    assert summary["excluded"] == [{"reason": "empty file", "count": 2, "examples": ["8_0.png", "9_0.png"]}]
    assert summary["splits"]["validation"]["patients"] == 2
    assert summary["notes"] == ["a note", *check_classes(make_rows(), LABELS)]


def test_fingerprint_is_sha256_of_csv() -> None:
    text = (
        "image_id,md5,patient_id,split,label:Mass,label:Edema\n"
        "1_0.png,00000000000000000000000000000000,1,train,1.0,0.0\n"
        "1_1.png,00000000000000000000000000000001,1,train,0.0,0.0\n"
        "2_0.png,00000000000000000000000000000002,2,validation,1.0,0.0\n"
        "3_0.png,00000000000000000000000000000003,3,validation,0.0,1.0\n"
        "4_0.png,00000000000000000000000000000004,4,test,1.0,1.0\n"
    )
    assert make_catalog().fingerprint() == hashlib.sha256(text.encode()).hexdigest()


@settings(deadline=None)  # the first fingerprint in a process imports pyarrow
@given(order=st.permutations(range(5)), source=st.text(max_size=9), age=st.floats(0, 120))
def test_fingerprint_ignores_order_location_and_age(order: list[int], source: str, age: float) -> None:
    rows = make_rows().iloc[order]
    rows = rows.assign(uri=source + rows["image_id"], age=age)
    assert make_catalog(rows, source).fingerprint() == make_catalog().fingerprint()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("image_id", "1_9.png"),
        ("md5", "0" * 31 + "9"),
        ("patient_id", "9"),
        ("split", "validation"),
        ("label:Mass", 0.0),
        ("label:Edema", 1.0),
    ],
)
def test_fingerprint_depends_on_training_columns(column: str, value: Any) -> None:
    rows = make_rows()
    rows.loc[0, column] = value
    assert make_catalog(rows).fingerprint() != make_catalog().fingerprint()


@pytest.mark.parametrize("files", [None, FileCounts(total=9, documents=1, archives=0, ignored={"Thumbs.db": 2})])
def test_catalog_read_returns_numbers_of_files(files: FileCounts | None, tmp_path: Path) -> None:
    dataclasses.replace(make_catalog(), files=files).write(tmp_path)
    assert Catalog.read(tmp_path).files == files


def test_count_files_rows_of_a_table_are_no_files() -> None:
    reasons = ["empty file", "row without an image", "duplicate row for an image", "bounding box outside its image",
               "path outside the data folder", "color image"]  # fmt: skip
    excluded = pd.concat([exclusion(["x"], reason) for reason in reasons])
    counts = count_files(FileCounts(total=9, documents=1, archives=0, ignored={}), 6, excluded)
    assert counts == {"total": 9, "documents": 1, "archives": 0, "ignored": {}, "used": 6, "set_aside": 2}
