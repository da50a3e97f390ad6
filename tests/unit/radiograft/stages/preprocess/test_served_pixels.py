"""Images of every kind: the network that is served sees the pixels that it was trained on."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from radiograft.config import Ingest, Preprocess
from radiograft.data.catalog import BOX_COLUMNS, CORNERS, Catalog
from radiograft.data.shards.dataset import Shards
from radiograft.imaging.decode import as_served
from radiograft.imaging.geometry import ImageInput
from radiograft.models import artifact
from radiograft.models.spec import SERVING_SIGNATURE, ModelSpec
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import merge
from radiograft.stages.preprocess import task as preprocess
from radiograft.training.checkpoints import Checkpoints
from tests.helpers.dicom_files import dicom_file
from tests.helpers.images import encode, noise
from tests.helpers.nih_source import put

SIDE = 32


def pixels(number: int) -> np.ndarray:
    """Returns a smooth image of 40 x 64 pixels; JPEG keeps it almost unchanged."""
    waves = np.random.default_rng(number).uniform(0.5, 3, 2)
    y, x = np.mgrid[0:40, 0:64]
    wave: np.ndarray = 127 + 60 * np.sin(waves[0] * y / 8) + 60 * np.cos(waves[1] * x / 8)
    return wave.astype(np.uint8)


def turned(image: np.ndarray) -> bytes:
    """Returns a JPEG that lies on its side, with the EXIF orientation that turns it upright."""
    tags = Image.Exif()
    tags[0x0112] = 6
    return encode(np.rot90(image), "JPEG", quality=95, exif=tags)


KINDS: dict[str, Callable[[int], bytes]] = {
    "png": lambda number: encode(pixels(number)),
    "jpg": lambda number: encode(pixels(number), "JPEG", quality=95),
    "jfif": lambda number: turned(pixels(number)),
    "jpe": lambda number: encode(Image.fromarray(pixels(number)).convert("CMYK"), "JPEG", quality=95),
    "PNG": lambda number: encode(pixels(number).astype(np.uint16) * 16),
    "tif": lambda number: encode(Image.fromarray(pixels(number).astype(np.uint16) * 16), "TIFF"),
    "bmp": lambda number: encode(pixels(number), "BMP"),
    "webp": lambda number: encode(pixels(number), "WEBP", lossless=True),
}


def network() -> keras.Model:
    """Returns a network whose probabilities are the pixels that it sees, divided by 255."""
    image = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="picture")
    return keras.Model(image, keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image)))


def shards_of(place: Path, **values: str | int) -> Shards:
    """Stores the images of KINDS, with positives and negatives in every split."""
    files = {
        f"{split}/{kind}/{number}{part}.{suffix}": make(100 * number + 10 * part + len(suffix))
        for number, (suffix, make) in enumerate(KINDS.items())
        for part, split in enumerate(("train", "val", "test"))
        for kind in [("normal", "Mass")[number % 2]]
    }
    settings = Ingest(data_format="folders", data_source=put(files, str(place / "data")), data_labels="Mass")
    ingest.run(settings, place / "catalog")
    preprocess.run(Preprocess.of({"image_size": SIDE, **values}), place / "catalog", place / "shards")
    return Shards.read(place / "shards")


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_served_network_sees_stored_pixels(resize: str, tmp_path: Path) -> None:
    data = shards_of(tmp_path, image_resize=resize)
    assert data.image_input == ImageInput(SIDE, resize, (0, 4095))
    labels = tuple(f"pixel {number}" for number in range(SIDE * SIDE))
    spec = ModelSpec(
        SIDE, labels, "b", "none", "", "fine_tuning", image_resize=resize, gray_range=data.image_input.gray_range
    )
    artifact.save_model(tmp_path / "model", network(), spec, {})
    artifact.export_saved_model(network(), ModelSpec.read(tmp_path / "model"), tmp_path / "saved_model")
    serve = tf.saved_model.load(str(tmp_path / "saved_model")).signatures[SERVING_SIGNATURE]
    uris = dict(zip(data.rows["image_id"], data.rows["uri"], strict=True))
    stored = {name.numpy().decode(): image.numpy() for image, name, _ in data.examples("test")}
    assert len(stored) == len(KINDS)
    for name, image in stored.items():
        content = as_served(Path(uris[name]).read_bytes()).content
        served = serve(image_bytes=tf.constant([content]))["probabilities"].numpy() * 255
        np.testing.assert_allclose(served.reshape(image.shape), image, atol=1e-3, err_msg=name)


def test_served_network_sees_stored_pixels_of_reduced_jpeg(tmp_path: Path) -> None:
    """Fails if the model does not record how JPEGs were decoded, or Serving decodes them at another size."""
    files = {
        f"{split}/{kind}/{number}.jpg": encode(
            Image.fromarray(pixels(number)).resize((300, 260), Image.Resampling.BICUBIC), "JPEG"
        )
        for number, (split, kind) in enumerate(itertools.product(("train", "val", "test"), ("normal", "Mass")))
    }
    source = put(files, str(tmp_path / "data"))
    ingest.run(Ingest(data_format="folders", data_source=source, data_labels="Mass"), tmp_path / "catalog")
    stored = {}
    for reduced in (False, True):
        settings = Preprocess(image_size=SIDE, image_reduced_jpeg=reduced)
        preprocess.run(settings, tmp_path / "catalog", tmp_path / f"shards-{reduced}")
        data = Shards.read(tmp_path / f"shards-{reduced}")
        assert data.image_input.reduced_jpeg is reduced
        stored[reduced] = {name.numpy().decode(): image.numpy() for image, name, _ in data.examples("test")}
    labels = tuple(f"pixel {number}" for number in range(SIDE * SIDE))
    spec = ModelSpec(SIDE, labels, "b", "none", "", "fine_tuning", reduced_jpeg=True)
    artifact.save_model(tmp_path / "model", network(), spec, {})
    artifact.export_saved_model(network(), ModelSpec.read(tmp_path / "model"), tmp_path / "saved_model")
    serve = tf.saved_model.load(str(tmp_path / "saved_model")).signatures[SERVING_SIGNATURE]
    for name, image in stored[True].items():
        content = Path(data.rows.set_index("image_id")["uri"][name]).read_bytes()
        served = serve(image_bytes=tf.constant([content]))["probabilities"].numpy() * 255
        np.testing.assert_allclose(served.reshape(image.shape), image, atol=1e-3)
        assert (image != stored[False][name]).any()


@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_each_kind_is_stored_as_upright_gray_image(resize: str, tmp_path: Path) -> None:
    """Fails if a kind is turned, inverted, nearly black or unreadable."""
    data = shards_of(tmp_path, image_resize=resize)
    rows = 20 if resize == "pad" else SIDE
    for image, name, _ in data.examples("test"):
        suffix = name.numpy().decode().rpartition(".")[2]
        number = list(KINDS).index(suffix)
        resized = Image.fromarray(pixels(100 * number + 20 + len(suffix))).resize(
            (SIDE, rows), Image.Resampling.BILINEAR
        )
        top = (SIDE - rows) // 2
        gray = image.numpy()[..., 0].astype(int)
        np.testing.assert_allclose(gray[top : top + rows], np.asarray(resized), atol=9, err_msg=suffix)
        assert not gray[:top].any()
        assert not gray[top + rows :].any()
    assert data.rows[["height", "width", "pixels"]].drop_duplicates().to_numpy().tolist() == [[40, 64, 2560]]


def test_gray_range_of_setting_overrides_measured_range(tmp_path: Path) -> None:
    assert shards_of(tmp_path, image_gray_range="0:65535").image_input.gray_range == (0, 65535)


def test_workers_use_one_gray_range_and_give_the_same_shards(tmp_path: Path) -> None:
    """Fails if each worker measures its own images."""
    expected = shards_of(tmp_path)
    settings = Preprocess(image_size=SIDE, preprocess_workers=3)
    parts = [tmp_path / f"part-{worker}" for worker in range(3)]
    for worker, part in enumerate(parts):
        preprocess.preprocess_share(settings, tmp_path / "catalog", part, Checkpoints(""), worker)
    merge.run(settings, tmp_path / "catalog", parts, tmp_path / "merged")
    for path in sorted(expected.folder.glob("*.tfrecord")):
        assert (tmp_path / "merged" / path.name).read_bytes() == path.read_bytes()
    assert Shards.read(tmp_path / "merged").image_input.gray_range == (0, 4095)
    (parts[1] / "gray_range.json").write_text("[0, 1023]")
    with pytest.raises(ValueError, match=r"all parts must use one range of gray values, got \[0, 1023\], \[0, 4095\]"):
        merge.run(settings, tmp_path / "catalog", parts, tmp_path / "again")


@pytest.mark.parametrize(
    ("resize", "expected"), [("stretch", [0.5, 0.2, 0.25, 0.4]), ("pad", [0.5, 0.3125, 0.25, 0.25])]
)
def test_run_maps_boxes_to_the_square(resize: str, expected: list[float], tmp_path: Path) -> None:
    """Fails if a heat map of a padded image is scored against the box of the original one."""
    shards_of(tmp_path)
    catalog = Catalog.read(tmp_path / "catalog")
    image_id = catalog.rows["image_id"][0]
    boxes = pd.DataFrame([[image_id, "Mass", 0.5, 0.2, 0.25, 0.4]], columns=list(BOX_COLUMNS)).astype(BOX_COLUMNS)
    dataclasses.replace(catalog, boxes=boxes).write(tmp_path / "catalog")
    preprocess.run(Preprocess(image_size=SIDE, image_resize=resize), tmp_path / "catalog", tmp_path / "mapped")
    assert Shards.read(tmp_path / "mapped").boxes[CORNERS].to_numpy().tolist() == [pytest.approx(expected)]


def test_run_turned_copies_with_other_labels_raise_with_reason(tmp_path: Path) -> None:
    """Fails if preprocess stops without a reason where no image is left: upright, all are copies of each other."""
    images = [np.kron(noise(8, n)[:5], np.ones((8, 8), np.uint8)) for n in range(12)]
    files = {f"normal/{n}.jpg": encode(image, "JPEG", quality=95) for n, image in enumerate(images)}
    files |= {f"Mass/{n}.jpg": turned(image) for n, image in enumerate(images)}
    source = put(files, str(tmp_path / "data"))
    settings = Ingest(data_format="folders", data_source=source, data_labels="Mass", data_validation_fraction=0.3)
    ingest.run(settings, tmp_path / "catalog")
    with pytest.raises(ValueError, match=r"training and validation must hold images .* 24 "):
        preprocess.run(Preprocess(image_size=SIDE), tmp_path / "catalog", tmp_path / "shards")


def test_run_padded_blank_image_is_excluded(tmp_path: Path) -> None:
    shards_of(tmp_path)
    put({"train/Mass/blank.png": encode(np.full((40, 64), 90, np.uint8))}, str(tmp_path / "data"))
    data = preprocess_again(tmp_path, image_resize="pad")
    found = [(group["reason"], group["count"]) for group in data["excluded"]]
    assert found == [("blank image: a single gray level", 1)]


def test_run_counts_every_file_of_the_source(tmp_path: Path) -> None:
    """Fails if the data report cannot say what became of each file."""
    shards_of(tmp_path)
    extra = {
        "train/normal/0.dcm": dicom_file(pixels(0)), "train/normal/masks/00.png": b"m", "train/Mass/Thumbs.db": b"x",
        "train/normal/broken.png": encode(pixels(5))[:99], "README.md": b"r", "loose.png": encode(pixels(6)),
    }  # fmt: skip
    put(extra, str(tmp_path / "data"))
    data = preprocess_again(tmp_path)
    assert data["files"] == {
        "total": 30, "documents": 1, "archives": 0, "ignored": {"Thumbs.db": 1}, "used": 24, "set_aside": 4,
    }  # fmt: skip
    assert {group["reason"]: group["count"] for group in data["excluded"]} == {
        "DICOM file: set data_format=dicom": 1,
        "image outside the class folders": 1,
        "segmentation mask beside its image": 1,
        "unreadable or truncated image": 1,
    }
    assert Catalog.read(tmp_path / "catalog-2").files is not None


def preprocess_again(place: Path, **values: str) -> dict[str, Any]:
    settings = Ingest(data_format="folders", data_source=str(place / "data"), data_labels="Mass")
    ingest.run(settings, place / "catalog-2")
    preprocess.run(Preprocess.of({"image_size": SIDE, **values}), place / "catalog-2", place / "shards-2")
    data: dict[str, Any] = json.load(io.BytesIO((place / "shards-2" / "data.json").read_bytes()))
    return data
