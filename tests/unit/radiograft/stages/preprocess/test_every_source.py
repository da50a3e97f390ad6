"""Each data format gives the same images after ingest and preprocess, with and without de-identification."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from radiograft.config import Ingest, Preprocess
from radiograft.data.shards.dataset import Shards
from radiograft.imaging.decode import decode
from radiograft.imaging.geometry import ImageInput
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from tests.helpers.images import encode
from tests.helpers.sources import CASES, EVERY


def preprocess_source(settings: Ingest, folder: Path) -> Shards:
    ingest.run(settings, folder / "catalog")
    preprocess.run(Preprocess(image_size=32), folder / "catalog", folder / "shards")
    return Shards.read(folder / "shards")


def contents(shards: Shards, *splits: str) -> list[tuple[str, float]]:
    """Returns checksum and label of the images in these splits, sorted by checksum."""
    return sorted(
        (hashlib.md5(image.numpy().tobytes()).hexdigest(), float(truth[0]))
        for split in splits
        for image, _, truth in shards.examples(split)
    )


def expected(format: str, *splits: str) -> list[tuple[str, float]]:
    images = []
    for case in (case for case in CASES if case.split in splits):
        image = decode(tf.constant(encode(case.pixels, format)), ImageInput(32)).numpy()
        images.append((hashlib.md5(image.tobytes()).hexdigest(), float(case.sick)))
    return sorted(images)


def assert_complete(shards: Shards, format: str) -> None:
    """Checks that each image is stored with its label, test images in the test split."""
    assert contents(shards, "test") == expected(format, "test")
    assert contents(shards, "train", "validation") == expected(format, "train", "valid")


@pytest.mark.parametrize("deidentify", ["yes", "no"])
@pytest.mark.parametrize("source", EVERY)
def test_each_source_is_stored_completely(source: str, deidentify: str, tmp_path: Path) -> None:
    settings = dataclasses.replace(EVERY[source](str(tmp_path / "data")), data_deidentify=deidentify)
    shards = preprocess_source(settings, tmp_path)
    kind = "JPEG" if source == "chexpert" else "PNG"
    assert_complete(shards, kind)
    if not source.startswith("nih"):  # NIH has no validation list
        assert contents(shards, "validation") == expected(kind, "valid")
    assert shards.summary["excluded"] == []
    assert shards.rows["patient_id"].nunique() == 12


@pytest.mark.parametrize("source", EVERY)
def test_catalog_is_equal_in_folder_and_bucket(source: str, embedded: str, tmp_path: Path) -> None:
    here, there = (
        ingest.build_catalog(EVERY[source](place)) for place in (str(tmp_path / "data"), f"{embedded}/{uuid.uuid4()}")
    )
    assert here.fingerprint() == there.fingerprint()
    assert here.rows.drop(columns="uri").equals(there.rows.drop(columns="uri"))


@pytest.mark.parametrize("source", ["dicom", "nih_archives", "table"])
def test_source_in_bucket_is_stored_completely(source: str, embedded: str, tmp_path: Path) -> None:
    shards = preprocess_source(EVERY[source](f"{embedded}/{uuid.uuid4()}"), tmp_path)
    assert_complete(shards, "PNG")


def test_catalog_of_archives_differs_only_in_uri(tmp_path: Path) -> None:
    plain, packed = (ingest.build_catalog(EVERY[name](str(tmp_path / name))) for name in ("nih", "nih_archives"))
    assert plain.rows.drop(columns="uri").equals(packed.rows.drop(columns="uri"))
    assert plain.fingerprint() == packed.fingerprint()
    assert packed.rows["uri"].str.contains(r"/images_0[123]\.tar\.gz#\d+$").all()


def test_preprocess_deleted_or_changed_image_is_excluded(tmp_path: Path) -> None:
    settings = dataclasses.replace(EVERY["dicom"](str(tmp_path / "data")), data_deidentify="yes")
    ingest.run(settings, tmp_path / "catalog")
    (tmp_path / "data/series/00").unlink()
    (tmp_path / "data/series/05").write_bytes(b"another")
    (tmp_path / "data/series/new").write_bytes(b"an additional file")
    preprocess.run(Preprocess(image_size=32), tmp_path / "catalog", tmp_path / "shards")
    summary = Shards.read(tmp_path / "shards").summary
    assert [(group["reason"], group["count"]) for group in summary["excluded"]] == [
        ("changed since ingest", 1),
        ("deleted since ingest", 1),
    ]


def test_preprocess_corrupt_dicom_is_excluded_with_reason(tmp_path: Path) -> None:
    settings = EVERY["dicom"](str(tmp_path / "data"))
    path = tmp_path / "data/series/03"
    path.write_bytes(path.read_bytes()[:-100])
    shards = preprocess_source(settings, tmp_path)
    assert [(group["reason"], group["count"]) for group in shards.summary["excluded"]] == [("corrupt DICOM file", 1)]
    assert shards.summary["converted"] == {"DICOM": 11}
    assert np.isin(shards.truth("train"), [0, 1]).all()
