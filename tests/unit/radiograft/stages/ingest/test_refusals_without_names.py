"""Errors of ingest contain names of folders and files, which may be patients', only without deidentification."""

from __future__ import annotations

import dataclasses
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from radiograft import storage
from radiograft.config import Ingest
from radiograft.stages.ingest import task as ingest
from tests.helpers.dicom_files import dicom_file
from tests.helpers.nih_source import TABLE_V2020
from tests.helpers.sources import CASES, table

NAME = "Quackenbush"


def patient_folders(folder: Path, *patients: str) -> Ingest:
    for case, patient in zip(CASES, patients, strict=False):
        storage.write_bytes(str(folder / patient / "1.dcm"), dicom_file(case.pixels))
    return Ingest(data_format="dicom", data_source=str(folder))


def name_in_latin_1(folder: Path) -> Ingest:
    settings = patient_folders(folder, "a", "b")
    (folder / "a/1.dcm").rename(os.fsdecode(os.fsencode(folder) + f"/a/M\xfcller {NAME}.dcm".encode("latin-1")))
    return settings


def tables(folder: Path, *files: tuple[str, str]) -> Ingest:
    settings = patient_folders(folder, "a", "b")
    for name, content in files:
        (folder / name).write_text(content)
    return settings


def nih(folder: Path, train_val: str, test: str) -> Ingest:
    files = {f"{NAME}.png": "x", "train_val_list.txt": train_val, "test_list.txt": test}
    table = f"{TABLE_V2020.splitlines()[0]}\n{NAME}.png,Mass,0,2,80,M,AP,2500,2048,0.168,0.168\n"
    for name, content in (files | {"Data_Entry_2017_v2020.csv": table}).items():
        storage.write_bytes(str(folder / name), content.encode())
    return Ingest(data_source=str(folder), data_deidentify="yes")


@pytest.mark.parametrize(
    ("write", "nameless", "named"),
    [
        (
            lambda folder: patient_folders(folder, NAME, "Doe", "Roe"),
            "data_labels must be findings of the dataset, which has 3, got 'Pneumonia'",
            f"data_labels must be findings of the dataset (Doe, {NAME}, Roe), got 'Pneumonia'",
        ),
        (lambda folder: patient_folders(folder, NAME), "data has 1", f"data has {NAME}"),
        (name_in_latin_1, "must be valid UTF-8, got other bytes; rename it", f"M\\udcfcller {NAME}.dcm'; rename it"),
        (
            lambda folder: tables(folder, (f"{NAME}.csv", ""), ("roe.csv", "")),
            "must contain at most one table, got 2",
            f"got {NAME}.csv, roe.csv",
        ),
        (
            lambda folder: tables(folder, ("t.csv", f"image,Mass,split\n1.dcm,1,{NAME}")),
            "test, testing, train_val, trainval, got 1 others",
            f"trainval, got '{NAME.lower()}'",
        ),
        (
            lambda folder: tables(folder, ("t.csv", f"1.dcm,{NAME},1")),
            "t.csv must have the column 'image', which data_table sets as image=, got 3 others",
            f"got 1.dcm, {NAME}, 1",
        ),
        (
            lambda folder: tables(folder, ("t.csv", f"image,{NAME}\n1.dcm,x")),
            "in columns of 1 and 0, got 2 columns",
            f"got the columns image, {NAME}",
        ),
        (
            lambda folder: nih(folder, f"{NAME}.png", f"{NAME}.png"),
            "an image must be in only one official list, got 1 in both",
            f"got 1 in both: {NAME}.png",
        ),
        (
            lambda folder: nih(folder, "x.png", "y.png"),
            "that name none of 1; correct both lists or remove both",
            f"that name none of 1, e.g. {NAME}.png; correct",
        ),
    ],
    ids=["label", "one class", "latin-1", "tables", "split", "no header", "findings", "both lists", "other lists"],
)
def test_build_catalog_errors_hide_names_if_deidentified(
    tmp_path: Path, write: Callable[[Path], Ingest], nameless: str, named: str
) -> None:
    """Fails if a ValueError keeps names of folders or files, or if names are always removed."""
    settings = write(tmp_path / "data")
    with pytest.raises(ValueError) as error:  # noqa: PT011  a part of the message is compared
        ingest.build_catalog(settings)
    assert nameless in str(error.value)
    assert NAME.lower() not in "".join(traceback.format_exception(error.value)).lower()
    with pytest.raises(ValueError) as error:  # noqa: PT011
        ingest.build_catalog(dataclasses.replace(settings, data_deidentify="no"))
    assert named in str(error.value)


def test_build_catalog_table_errors_hide_image_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if names are redacted only below the source, which is the table and not its folder."""
    settings = dataclasses.replace(table(str(tmp_path / "data")), data_deidentify="yes")
    (tmp_path / f"data/p/{NAME}.png").write_bytes(b"x")
    read = storage.read_bytes

    def fails(uri: str) -> bytes:
        if uri.endswith(".png"):
            raise storage.StorageError(f"{tmp_path}/data/p/{NAME}.png is damaged")
        return read(uri)

    monkeypatch.setattr(storage, "read_bytes", fails)
    with pytest.raises(storage.StorageError) as error:
        ingest.build_catalog(settings)
    assert str(error.value) == f"{tmp_path}/data/..."
