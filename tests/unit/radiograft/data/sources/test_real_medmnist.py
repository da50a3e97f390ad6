"""PneumoniaMNIST: the catalog agrees with the file, read with NumPy alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from radiograft.config import Ingest
from radiograft.data.catalog import Catalog, summarize_exclusions
from radiograft.stages.ingest import task
from radiograft.storage import npz_archive


@pytest.fixture(scope="module")
def uri(test_data: Path) -> str:
    return str(test_data / "pneumoniamnist.npz")


@pytest.fixture(scope="module")
def catalog(uri: str) -> Catalog:
    return task.build_catalog(Ingest(data_format="medmnist", data_source=uri))


def test_catalog_has_all_images_except_duplicates(catalog: Catalog) -> None:
    assert catalog.summary()["splits"] == {
        "train": {"pictures": 4708 - 26, "patients": 4682, "positives": {"Pneumonia": 3469}},
        "validation": {"pictures": 524, "patients": 524, "positives": {"Pneumonia": 389}},
        "test": {"pictures": 624, "patients": 624, "positives": {"Pneumonia": 390}},
    }
    assert {group["reason"]: group["count"] for group in summarize_exclusions(catalog.excluded)} == {
        "byte-identical to an earlier image": 16,
        "byte-identical to an image in a held-out split": 10,
    }
    assert catalog.summary()["notes"][1:] == [
        "3 images of the official test split are byte-identical to others in it and stay"
    ]
    assert catalog.fingerprint() == "36328f55394629b02c7d883585823826bd4eb167b7e36aef6f16dfbbe4a28aeb"


def test_catalog_removes_validation_images_from_train(catalog: Catalog, uri: str) -> None:
    with np.load(uri, allow_pickle=False) as file:
        shared = {pixels.tobytes() for pixels in file["val_images"]} & {p.tobytes() for p in file["train_images"]}
    assert len(shared) == 8
    holding = catalog.rows["md5"].isin([hashlib.md5(pixels).hexdigest() for pixels in shared])
    assert catalog.rows["split"][holding].tolist() == ["validation"] * 8


def test_catalog_rows_match_images_and_labels(catalog: Catalog, uri: str) -> None:
    with np.load(uri, allow_pickle=False) as file:
        arrays = dict(file)
    for row, pixels in zip(catalog.rows.itertuples(), npz_archive.read_rows(catalog.rows["uri"]), strict=True):
        part, _, number = row.image_id.partition("-")
        np.testing.assert_array_equal(pixels, arrays[f"{part}_images"][int(number)])
        assert row.md5 == hashlib.md5(arrays[f"{part}_images"][int(number)].tobytes()).hexdigest()
    for part, split in {"train": "train", "val": "validation", "test": "test"}.items():
        rows = catalog.rows[catalog.rows["split"] == split]
        numbers = rows["image_id"].str.removeprefix(f"{part}-").astype(int)
        np.testing.assert_array_equal(rows["label:Pneumonia"], arrays[f"{part}_labels"][numbers, 0])
