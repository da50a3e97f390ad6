"""Two catalogs have the same fingerprint if and only if training would see the same data."""

from __future__ import annotations

import gzip
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config import Ingest
from radiograft.stages.ingest import task
from tests.helpers.nih_source import IMAGES, TABLE_2017, TABLE_V2020, TEST, TRAIN_VAL, half_validating, nih_files, put
from tests.helpers.sources import EVERY

TABLE = "Data_Entry_2017_v2020.csv"
Files = dict[str, bytes]


def fingerprint(place: str, files: Files, **values: str) -> str:
    return task.build_catalog(half_validating(put(files, place), **values)).fingerprint()


def reorder_rows(files: Files) -> Files:
    header, *rows = TABLE_V2020.splitlines()
    return files | {TABLE: "\n".join([header, *reversed(rows)]).encode()}


def reorder_lists(files: Files) -> Files:
    return files | {name: b"\n".join(reversed(files[name].split())) for name in ("train_val_list.txt", "test_list.txt")}


def use_table_of_2017(files: Files) -> Files:
    kept = {name: content for name, content in files.items() if name != TABLE}
    return kept | {"Data_Entry_2017.csv.gz": gzip.compress(TABLE_2017.encode())}


def move_images(files: Files) -> Files:
    return {name.replace(IMAGES, "elsewhere"): content for name, content in files.items()}


def add_rows_without_images(files: Files) -> Files:
    return files | {TABLE: (TABLE_V2020 + "00000099_000.png,Mass,0,99,58,M,PA,1,1,1,1\n").encode()}


@pytest.mark.parametrize(
    "change",
    [reorder_rows, reorder_lists, use_table_of_2017, move_images, add_rows_without_images],
)
def test_fingerprint_ignores_layout_changes(place: str, tmp_path: Path, change: Callable[[Files], Files]) -> None:
    assert fingerprint(place, change(nih_files())) == fingerprint(str(tmp_path / "other"), nih_files())


def test_fingerprint_ignores_file_dates(tmp_path: Path) -> None:
    first = fingerprint(str(tmp_path), nih_files())
    for path in tmp_path.rglob("*.png"):
        os.utime(path, (time.time() - 1e6, 1e9))
    assert task.build_catalog(half_validating(str(tmp_path))).fingerprint() == first


CHANGES: dict[str, Files] = {
    "an image's byte": {f"{IMAGES}/00000002_000.png": b"pixels of 00000002_0O0.png"},
    "a label": {TABLE: TABLE_V2020.replace("Mass", "Pneumonia").encode()},
    "a patient": {TABLE: TABLE_V2020.replace("_000.png,Mass,0,2,", "_000.png,Mass,0,1,").encode()},
    "an official list": {
        "train_val_list.txt": "\n".join(TRAIN_VAL[:-1]).encode(),
        "test_list.txt": "\n".join((*TEST, TRAIN_VAL[-1])).encode(),
    },
    "one image fewer": {f"{IMAGES}/00000002_000.png": b""},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_fingerprint_depends_on_data(tmp_path: Path, changes: Files) -> None:
    before = fingerprint(str(tmp_path), nih_files())
    assert fingerprint(str(tmp_path), changes) != before


def test_fingerprint_depends_on_labels_and_split(tmp_path: Path, nih_folder: Path) -> None:
    fingerprints = {
        task.build_catalog(half_validating(str(nih_folder), **values)).fingerprint()
        for values in ({}, {"data_labels": "Effusion"}, {"data_negatives": "no_finding"}, {"train_seed": 1})
    }
    assert len(fingerprints) == 4


@pytest.mark.parametrize("made", EVERY.values(), ids=EVERY)
def test_fingerprint_of_each_format_is_equal_in_folder_and_bucket(
    made: Callable[[str], Ingest], embedded: str, tmp_path: Path
) -> None:
    here, there = made(str(tmp_path)), made(f"{embedded}/{uuid.uuid4()}")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert task.build_catalog(here).fingerprint() == task.build_catalog(there).fingerprint()


# Eighteen images, six in each split, half of them with pneumonia: no single change leaves a class empty.
ROWS = [(f"p/{n}.png", f"pixels {n}", f"patient {n}", ("No Finding", "Pneumonia")[n // 3 % 2]) for n in range(18)]
SPLIT_OF = [("train", "validation", "test")[n % 3] for n in range(18)]
OTHER = {
    "No Finding": "Pneumonia",
    "Pneumonia": "No Finding",
    "train": "validation",
    "validation": "test",
    "test": "train",
}


def write_rows(folder: Path, change: tuple[str, int] | None, order: list[int], date: int) -> Ingest:
    """Writes images and table in this order with one change; `date` is the files' date in seconds since 1970."""
    (folder / "p").mkdir()
    lines = []
    for number in order:
        path, pixels, patient, label = ROWS[number]
        split, kind = SPLIT_OF[number], change[0] if change and change[1] == number else ""
        pixels += " changed" * (kind == "picture")
        patient += " changed" * (kind == "patient")
        label, split = (OTHER[it] if kind == name else it for name, it in (("label", label), ("split", split)))
        (folder / path).write_bytes(pixels.encode())
        os.utime(folder / path, (date, date))
        lines.append(f"{path},{patient},{label},{split}")
    (folder / "t.csv").write_text("\n".join(["image,patient,label,split", *lines]))
    return Ingest(data_format="table", data_source=f"{folder}/t.csv")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("plain")
    return task.build_catalog(write_rows(folder, None, list(range(18)), 10**9)).fingerprint()


@settings(deadline=None, max_examples=25)
@given(
    change=st.none() | st.tuples(st.sampled_from(["picture", "patient", "label", "split"]), st.integers(0, 17)),
    order=st.permutations(range(18)),
    date=st.integers(10**8, 2 * 10**9),
)
def test_fingerprint_changes_if_and_only_if_data_change(
    plain: str, change: tuple[str, int] | None, order: list[int], date: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        changed = task.build_catalog(write_rows(Path(folder), change, order, date)).fingerprint()
    assert (changed != plain) is (change is not None)
