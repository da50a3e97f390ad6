"""Preprocess: each image is stored in order, or excluded for a reason that is counted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from radiograft.config import Preprocess
from radiograft.config.augmentation import Augmentation
from radiograft.config.base import read_settings, record_settings
from radiograft.data.catalog import SPLITS, Catalog, exclusion
from radiograft.data.shards.dataset import Shards
from radiograft.imaging.decode import decode
from radiograft.imaging.geometry import ImageInput
from radiograft.stages.preprocess import task
from radiograft.storage import npz_archive
from tests.helpers.archives import pack, packed
from tests.helpers.images import encode, noise

IMAGES_PER_SPLIT = 8
UNREADABLE = "unreadable or truncated image"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Eight noise images of 32 px in each split, every second one with a mass, and one that ingest excluded."""
    (tmp_path / "pictures").mkdir()
    rows = []
    for number in range(IMAGES_PER_SPLIT * len(SPLITS)):
        path = tmp_path / "pictures" / f"{number:04d}.png"
        path.write_bytes(encode(noise(32, number)))
        rows.append(
            {
                "image_id": path.name,
                "uri": str(path),
                "md5": md5(path.read_bytes()),
                "patient_id": str(number // 2),
                "view": "PA",
                "age": 50.0,
                "sex": "F",
                "split": SPLITS[number // IMAGES_PER_SPLIT],
                "label:Mass": float(number % 2),
            }
        )
    return Catalog(pd.DataFrame(rows), ("Mass",), exclusion(["gone.png"], "row without an image"), "a source")


def replace(catalog: Catalog, number: int, content: bytes) -> None:
    """Replaces the content of an image as if ingest had found it."""
    Path(catalog.rows.loc[number, "uri"]).write_bytes(content)
    catalog.rows.loc[number, "md5"] = md5(content)


def run(catalog: Catalog, folder: Path, **values: str | int) -> Path:
    catalog.write(folder / "catalog")
    record_settings(folder / "catalog", Preprocess())
    settings = {"image_size": 32, "image_augmentation": "rotation_range=10", **values}
    task.run(Preprocess.of(settings), folder / "catalog", folder / "shards")
    return folder / "shards"


def test_run_valid_images_are_stored_unchanged(catalog: Catalog, tmp_path: Path) -> None:
    folder = run(catalog, tmp_path)
    data = Shards.read(folder)
    for start, split in zip((0, 8, 16), SPLITS, strict=True):
        stored, ids, truth = zip(*data.examples(split).as_numpy_iterator(), strict=True)
        assert [image_id.decode() for image_id in ids] == [f"{start + number:04d}.png" for number in range(8)]
        assert [float(present) for [present] in truth] == [0, 1] * 4
        np.testing.assert_array_equal(np.stack(stored)[..., 0], [noise(32, start + number) for number in range(8)])


def test_run_soft_labels_are_stored_and_counted_by_class(catalog: Catalog, tmp_path: Path) -> None:
    """Three readers: two of three is positive, one of three negative, and a tie of two readers unknown."""
    shares = [2 / 3, 1 / 3, 0.5, 1.0] * 6
    catalog.rows["label:Mass"] = shares
    folder = run(catalog, tmp_path)
    data = Shards.read(folder)
    for split in SPLITS:
        np.testing.assert_array_equal(data.split_targets(split)[:, 0], np.float32(shares[:8]))
        np.testing.assert_array_equal(
            [t[0] for *_, t in data.examples(split).as_numpy_iterator()], np.float32(shares[:8])
        )
        np.testing.assert_array_equal(data.truth(split)[:, 0], [1, 0, np.nan, 1] * 2)
    assert data.summary["splits"]["train"] == {"pictures": 8, "patients": 4, "positives": {"Mass": 4}}
    described = json.loads((folder / "data.json").read_text())["splits"]["train"]["labels"]["Mass"]
    assert described == {"positives": 4, "negatives": 2, "unknown": 2, "positive_patients": 4}


def test_run_writes_description(catalog: Catalog, tmp_path: Path) -> None:
    folder = run(catalog, tmp_path)
    splits = {split: {"pictures": 8, "patients": 4, "positives": {"Mass": 4}} for split in SPLITS}
    assert json.loads((folder / "shards.json").read_text()) == {
        "labels": ["Mass"],
        "task": "multilabel",
        "task_reason": "",
        "image_size": 32,
        "image_resize": "stretch",
        "gray_range": None,
        "image_channels": 1,
        "color": {"images": 24, "in_color": 0, "sampled": 24, "sampled_in_color": 0},
        "source": "a source",
        "readers": [],
        "fingerprint": catalog.fingerprint(),
        "splits": splits,
        "catalogued": splits,
        "notes": [],
        "excluded": [{"reason": "row without an image", "count": 1, "examples": ["gone.png"]}],
        "converted": {},
        "files": None,
    }
    assert Shards.read(folder).augmentation == Augmentation(rotation_range=10)
    assert json.loads((folder / "augmentation.json").read_text())["rotation_range"] == 10
    assert read_settings(folder)["image_size"] == 32


def test_run_unreadable_images_are_excluded_and_counted(catalog: Catalog, tmp_path: Path) -> None:
    whole = encode(noise(32, 1))
    replace(catalog, 1, whole[: len(whole) // 2])
    replace(catalog, 2, b"")
    Path(catalog.rows.loc[3, "uri"]).unlink()
    Path(catalog.rows.loc[4, "uri"]).write_bytes(encode(noise(32, 99)))  # after ingest
    replace(catalog, 5, encode(Image.fromarray(noise(32, 5)).convert("RGBA")))
    replace(catalog, 16, encode(noise(32, 16).astype(np.uint16) * 257))
    replace(catalog, 17, encode(Image.fromarray(noise(32, 17)).convert("RGBA")))
    data = Shards.read(run(catalog, tmp_path))

    assert data.summary["excluded"] == [
        {"reason": UNREADABLE, "count": 2, "examples": ["0001.png", "0002.png"]},
        {"reason": "changed since ingest", "count": 1, "examples": ["0004.png"]},
        {"reason": "deleted since ingest", "count": 1, "examples": ["0003.png"]},
        {"reason": "row without an image", "count": 1, "examples": ["gone.png"]},
    ]
    assert data.summary["converted"] == {"I;16": 1, "RGBA": 2}
    assert data.summary["splits"]["train"] == {"pictures": 4, "patients": 3, "positives": {"Mass": 2}}
    kept = {"train": [0, 5, 6, 7], "validation": range(8, 16), "test": range(16, 24)}
    for split, numbers in kept.items():
        assert data.split(split)["image_id"].tolist() == [f"{number:04d}.png" for number in numbers]
        stored, ids, truth = zip(*data.examples(split).as_numpy_iterator(), strict=True)
        assert [image_id.decode() for image_id in ids] == [f"{number:04d}.png" for number in numbers]
        np.testing.assert_array_equal(truth, data.truth(split))
        np.testing.assert_array_equal(np.stack(stored)[..., 0], [noise(32, number) for number in numbers])


def test_run_class_without_readable_images_raises(catalog: Catalog, tmp_path: Path) -> None:
    for number in (1, 3, 5, 7):
        replace(catalog, number, b"no image")
    with pytest.raises(ValueError, match=r"must hold images with and without.*train: 4 images, 0 with Mass"):
        run(catalog, tmp_path)
    assert not (tmp_path / "shards" / "shards.json").exists()


def test_run_split_without_readable_images_raises(catalog: Catalog, tmp_path: Path) -> None:
    for number in range(16, 24):
        replace(catalog, number, b"")
    with pytest.raises(ValueError, match=r"test must not be empty; got .* test: 0 images, 0 with Mass"):
        run(catalog, tmp_path)


def test_run_resizes_images(catalog: Catalog, tmp_path: Path) -> None:
    data = Shards.read(run(catalog, tmp_path, image_size=64))
    expected = decode(tf.constant(encode(noise(32, 0))), ImageInput(64))
    stored, _, _ = next(data.examples("train").as_numpy_iterator())
    assert stored.shape == (64, 64, 1)
    np.testing.assert_array_equal(stored, expected)


def test_run_images_in_npz_archive_are_stored(catalog: Catalog, tmp_path: Path, place: str) -> None:
    pixels = np.stack([noise(32, number) for number in range(IMAGES_PER_SPLIT * len(SPLITS))])
    uri = pack(f"{place}/set.npz", train_images=pixels[:8], val_images=pixels[8:16], test_images=pixels[16:])
    archived = catalog.rows.assign(
        uri=[npz_archive.row_uri(uri, f"{part}_images", row) for part in ("train", "val", "test") for row in range(8)],
        md5=[md5(image.tobytes()) for image in pixels],
    )
    archived.loc[5, "md5"] = md5(b"other pixels")
    keep = archived.index != 2  # excluded by ingest
    data = Shards.read(run(dataclasses.replace(catalog, rows=archived[keep]), tmp_path / "archived"))
    assert data.summary["excluded"][0] == {"reason": "changed since ingest", "count": 1, "examples": ["0005.png"]}
    for split, numbers in {"train": [0, 1, 3, 4, 6, 7], "validation": range(8, 16), "test": range(16, 24)}.items():
        stored, ids, _ = zip(*data.examples(split).as_numpy_iterator(), strict=True)
        assert [image_id.decode() for image_id in ids] == [f"{number:04d}.png" for number in numbers]
        np.testing.assert_array_equal(np.stack(stored)[..., 0], pixels[list(numbers)])


def test_run_missing_or_corrupt_archive_raises(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    rows = catalog.rows.assign(uri=[npz_archive.row_uri(str(path), "images", row) for row in range(len(catalog.rows))])
    with pytest.raises(FileNotFoundError, match=r"set\.npz"):
        run(dataclasses.replace(catalog, rows=rows), tmp_path / "gone")
    path.write_bytes(packed(images=np.stack([noise()] * 24))[:1000])
    with pytest.raises(ValueError, match=r"set\.npz must be a complete \.npz archive, got a corrupt one"):
        run(dataclasses.replace(catalog, rows=rows), tmp_path / "broken")


def test_run_keeps_notes_of_source(catalog: Catalog, tmp_path: Path) -> None:
    folder = run(dataclasses.replace(catalog, notes=("patients are unknown",)), tmp_path)
    assert Shards.read(folder).summary["notes"] == ["patients are unknown"]
