"""730 radiographs of NIH ChestX-ray14: the catalog agrees with NIH's table and lists, parsed independently."""

from __future__ import annotations

import csv
import gzip
import hashlib
import logging
from collections import Counter
from pathlib import Path

import pytest

from radiograft.config import FINDINGS, Ingest
from radiograft.data.catalog import Catalog, summarize_exclusions
from radiograft.stages.ingest import task


@pytest.fixture(scope="module")
def nih(test_data: Path) -> Path:
    return test_data / "chestxray14"


@pytest.fixture(scope="module")
def catalog(nih: Path) -> Catalog:
    return task.build_catalog(Ingest(data_source=str(nih), data_labels="all"))


@pytest.fixture(scope="module")
def table(nih: Path) -> dict[str, dict[str, str]]:
    with gzip.open(nih / "Data_Entry_2017_v2020.csv.gz", "rt", newline="") as file:
        return {row["Image Index"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def images(nih: Path) -> dict[str, str]:
    """MD5 by file name."""
    paths = (nih / "images_001" / "images").iterdir()
    return {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in paths}


def test_catalog_has_every_image_except_byte_identical_duplicate(catalog: Catalog, images: dict[str, str]) -> None:
    assert len(images) == 730
    duplicates = [name for name in sorted(images) if Counter(images.values())[images[name]] > 1]
    assert len(duplicates) == 2
    assert sorted(catalog.rows["image_id"]) == sorted(set(images) - {duplicates[1]})
    assert dict(zip(catalog.rows["image_id"], catalog.rows["md5"], strict=True)).items() <= images.items()


def test_catalog_agrees_with_nih_table(catalog: Catalog, table: dict[str, dict[str, str]]) -> None:
    for row in catalog.rows.to_dict("records"):
        expected = table[row["image_id"]]
        found = {label for label in FINDINGS if row[f"label:{label}"] == 1.0}
        assert found == set(expected["Finding Labels"].split("|")) - {"No Finding"}
        assert {row[f"label:{label}"] for label in FINDINGS} <= {0.0, 1.0}
        assert [row["patient_id"], row["age"], row["sex"], row["view"]] == [
            expected["Patient ID"],
            float(expected["Patient Age"]),
            expected["Patient Gender"],
            expected["View Position"],
        ]


def test_catalog_splits_agree_with_official_lists(catalog: Catalog, nih: Path) -> None:
    for name, splits in {"test_list.txt": {"test"}, "train_val_list.txt": {"train", "validation"}}.items():
        listed = catalog.rows["image_id"].isin((nih / name).read_text().split("\n"))
        assert set(catalog.rows["split"][listed]) == splits
        assert not set(catalog.rows["split"][~listed]) & splits
    assert catalog.rows.groupby("patient_id")["split"].nunique().max() == 1


def test_catalog_counts_rows_without_image(catalog: Catalog) -> None:
    assert {group["reason"]: group["count"] for group in summarize_exclusions(catalog.excluded)} == {
        "row without an image": 111_390,
        "bounding box for a missing image": 942,
        "byte-identical to an earlier image": 1,
    }


def test_run_pneumonia_has_known_counts_and_fingerprint(
    nih: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "radiograft"):
        summary = task.run(Ingest(data_source=str(nih)), tmp_path).summary()
    assert summary["splits"] == {
        "train": {"pictures": 518, "patients": 349, "positives": {"Pneumonia": 203}},
        "validation": {"pictures": 91, "patients": 68, "positives": {"Pneumonia": 48}},
        "test": {"pictures": 120, "patients": 73, "positives": {"Pneumonia": 120}},
    }
    assert summary["fingerprint"] == "104c60ca2784f4a3738dbc043c03f9a6c516eeb85a2cbe65a2b3de8ef095838d"
    assert "111390: row without an image, e.g. 00000001_000.png, 00000001_001.png" in caplog.text
