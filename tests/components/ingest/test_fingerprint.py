"""Two catalogues have the same fingerprint exactly where a training run would see the same data."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.ingest import task
from tests.components.ingest.nih_source import (
    PICTURES,
    TABLE_2017,
    TABLE_V2020,
    TEST,
    TRAIN_VAL,
    half_validating,
    nih_files,
    put,
)

TABLE = "Data_Entry_2017_v2020.csv"
Files = dict[str, bytes]


def fingerprint(place: str, files: Files, **values: str) -> str:
    return task.build_catalogue(half_validating(put(files, place), **values)).fingerprint()


def reorder_rows(files: Files) -> Files:
    header, *rows = TABLE_V2020.splitlines()
    return files | {TABLE: "\n".join([header, *reversed(rows)]).encode()}


def reorder_lists(files: Files) -> Files:
    return files | {name: b"\n".join(reversed(files[name].split())) for name in ("train_val_list.txt", "test_list.txt")}


def take_the_table_of_2017(files: Files) -> Files:
    kept = {name: content for name, content in files.items() if name != TABLE}
    return kept | {"Data_Entry_2017.csv.gz": gzip.compress(TABLE_2017.encode())}


def move_pictures(files: Files) -> Files:
    return {name.replace(PICTURES, "elsewhere"): content for name, content in files.items()}


def add_rows_without_pictures(files: Files) -> Files:
    return files | {TABLE: (TABLE_V2020 + "00000099_000.png,Mass,0,99,58,M,PA,1,1,1,1\n").encode()}


@pytest.mark.parametrize(
    "change",
    [reorder_rows, reorder_lists, take_the_table_of_2017, move_pictures, add_rows_without_pictures],
)
def test_what_training_does_not_see_keeps_the_fingerprint(
    place: str, tmp_path: Path, change: Callable[[Files], Files]
) -> None:
    assert fingerprint(place, change(nih_files())) == fingerprint(str(tmp_path / "other"), nih_files())


def test_dates_keep_the_fingerprint(tmp_path: Path) -> None:
    first = fingerprint(str(tmp_path), nih_files())
    for path in tmp_path.rglob("*.png"):
        os.utime(path, (time.time() - 1e6, 1e9))
    assert task.build_catalogue(half_validating(str(tmp_path))).fingerprint() == first


CHANGES: dict[str, Files] = {
    "a picture's byte": {f"{PICTURES}/00000002_000.png": b"pixels of 00000002_0O0.png"},
    "a label": {TABLE: TABLE_V2020.replace("Mass", "Pneumonia").encode()},
    "a patient": {TABLE: TABLE_V2020.replace("_000.png,Mass,0,2,", "_000.png,Mass,0,1,").encode()},
    "an official list": {
        "train_val_list.txt": "\n".join(TRAIN_VAL[:-1]).encode(),
        "test_list.txt": "\n".join((*TEST, TRAIN_VAL[-1])).encode(),
    },
    "one picture less": {f"{PICTURES}/00000002_000.png": b""},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_what_training_sees_changes_the_fingerprint(tmp_path: Path, changes: Files) -> None:
    before = fingerprint(str(tmp_path), nih_files())
    assert fingerprint(str(tmp_path), changes) != before


def test_other_labels_and_another_split_change_the_fingerprint(tmp_path: Path, nih_folder: Path) -> None:
    found = {
        task.build_catalogue(half_validating(str(nih_folder), **values)).fingerprint()
        for values in ({}, {"data_labels": "Effusion"}, {"data_negatives": "no_finding"}, {"train_seed": 1})
    }
    assert len(found) == 4
