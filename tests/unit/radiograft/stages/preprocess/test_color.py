"""Preprocess of sets in color: what is stored, recorded, flagged and refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from radiograft.config import Ingest, Preprocess
from radiograft.config.base import record_settings
from radiograft.data.catalog import SPLITS, Catalog
from radiograft.data.shards import files as shard_files
from radiograft.data.shards.dataset import Shards
from radiograft.imaging.augment import augment, draw_parameters
from radiograft.reporting.data_report import render_data_report
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import merge, task
from radiograft.training.checkpoints import Checkpoints, checkpoint_key
from tests.helpers.colors import GREEN, RED, catalog_of, disk
from tests.helpers.dicom_files import dicom_file
from tests.helpers.images import encode, noise


def disks(count: int = 12) -> dict[str, bytes]:
    """Returns red and green disks of equal luminance in turn."""
    return {f"{number:02d}.png": encode(disk((RED, GREEN)[number % 2], number)) for number in range(count)}


def prepared(files: dict[str, bytes], folder: Path) -> Path:
    catalog = catalog_of(files, folder / "images", [1.0, 0.0] * (len(files) // 2))
    catalog.write(folder / "catalog")
    record_settings(folder / "catalog", Preprocess())
    return folder / "catalog"


def run(files: dict[str, bytes], folder: Path, **values: str | int) -> Shards:
    task.run(Preprocess.of({"image_size": 32, **values}), prepared(files, folder), folder / "shards")
    return Shards.read(folder / "shards")


def stored(data: Shards) -> dict[str, np.ndarray]:
    return {
        name.decode(): image for split in SPLITS for image, name, _ in data.examples(split).as_numpy_iterator()
    }  # fmt: skip


def test_run_auto_set_in_color_is_stored_as_rgb(tmp_path: Path) -> None:
    """Fails if the color is lost, reported as a defect, or makes disks of other hue near duplicates."""
    files = disks()
    data = run(files, tmp_path, image_size=64)
    for name, image in stored(data).items():
        np.testing.assert_array_equal(image, np.asarray(Image.open(tmp_path / "images" / name)))
    assert len(stored(data)) == 12
    assert data.image_input.channels == 3
    summary = json.loads((tmp_path / "shards" / "data.json").read_text())
    assert (summary["suspects"], summary["excluded"], summary["converted"]) == ([], [], {})
    assert data.summary["color"] == {"images": 12, "in_color": 12, "sampled": 12, "sampled_in_color": 12}
    text = render_data_report(summary)
    assert "Stored as rgb, because 12 of 12 sampled images are in color." in text


def test_run_gray_images_of_a_set_in_color_are_repeated(tmp_path: Path) -> None:
    files = disks() | {"04.png": encode(noise(32)), "05.png": encode(noise(32, 1), "JPEG", quality=100)}
    data = run(files, tmp_path)
    np.testing.assert_array_equal(stored(data)["04.png"], noise(32)[..., None].repeat(3, axis=-1))
    assert np.ptp(stored(data)["05.png"], axis=-1).max() == 0
    assert data.summary["converted"] == {"L": 2}
    assert data.summary["color"]["in_color"] == 10
    kinds = dict(zip(data.rows["image_id"], data.rows["color"], strict=True))
    assert (kinds["03.png"], kinds["04.png"]) == ("yes", "no")


def test_run_few_images_in_color_leave_a_gray_set_gray(tmp_path: Path) -> None:
    """Fails if stray overlays make a set of radiographs RGB: then it would take three times the space."""
    files = {f"{number:02d}.png": encode(noise(32, number)) for number in range(12)} | {"03.png": encode(disk(RED, 3))}
    data = run(files, tmp_path)
    assert {image.shape for image in stored(data).values()} == {(32, 32, 1)}
    assert data.summary["converted"] == {"RGB in color": 1}
    summary = json.loads((tmp_path / "shards" / "data.json").read_text())
    assert [group["defect"] for group in summary["suspects"] if group["defect"] == "color"] == ["color"]


@pytest.mark.parametrize(("setting", "channels"), [("gray", 1), ("rgb", 3)])
def test_run_setting_overrides_the_sample(setting: str, channels: int, tmp_path: Path) -> None:
    data = run(disks(), tmp_path, image_channels=setting)
    assert {image.shape for image in stored(data).values()} == {(32, 32, channels)}
    assert data.summary["color"]["sampled"] == 0


def test_run_gray_shards_have_the_bytes_of_earlier_versions(tmp_path: Path) -> None:
    """The digests are those of commit cf4e632, before images in color were supported."""
    files = {f"{number:02d}.png": encode(noise(48, number)) for number in range(11)} | {"11.png": encode(disk(RED, 3))}
    run(files, tmp_path)
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in sorted((tmp_path / "shards").glob("*.tfrecord"))
    ]
    assert digests == ["07d739db5d42840b", "9e795b2fd0428875", "b9ba8504c5a3fac8"]


def test_preprocess_share_workers_agree_about_color(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a worker whose own images are gray stores one channel."""
    monkeypatch.setattr(shard_files, "IMAGES_PER_SHARD", 4)
    files = {name: encode(noise(32, number)) if number < 4 else content
             for number, (name, content) in enumerate(disks().items())}  # fmt: skip
    catalog = prepared(files, tmp_path)
    settings = Preprocess(image_size=32, preprocess_workers=3)
    parts = [tmp_path / f"part-{worker}" for worker in range(3)]
    for worker, part in enumerate(parts):
        task.preprocess_share(settings, catalog, part, Checkpoints(""), worker)
    merge.run(settings, catalog, parts, tmp_path / "shards")
    assert {image.shape for image in stored(Shards.read(tmp_path / "shards")).values()} == {(32, 32, 3)}
    (parts[1] / "color.json").write_text('{"channels": 1, "sample": [12, 4]}')
    with pytest.raises(ValueError, match="all parts must use one number of channels"):
        merge.run(settings, catalog, parts, tmp_path / "again")


def test_preprocess_share_other_channels_replaces_finished_shards(tmp_path: Path) -> None:
    """Fails if a resumed run with image_channels=gray keeps shards of three channels."""
    catalog, part = prepared(disks(), tmp_path), tmp_path / "part"
    task.preprocess_share(Preprocess(image_size=32), catalog, part, Checkpoints(""))
    task.preprocess_share(Preprocess(image_size=32, image_channels="gray"), catalog, part, Checkpoints(""))
    merge.run(Preprocess(image_size=32, image_channels="gray"), catalog, [part], tmp_path / "shards")
    assert {image.shape for image in stored(Shards.read(tmp_path / "shards")).values()} == {(32, 32, 1)}


def test_identity_depends_on_channels(tmp_path: Path) -> None:
    """Fails if checkpoints of a gray model continue in color."""
    gray, color = (run(disks(), tmp_path / kind, image_channels=kind) for kind in ("gray", "rgb"))
    keys = {checkpoint_key({**data.identity(), "fingerprint": ""}) for data in (gray, color)}
    assert len(keys) == 2


def test_views_change_hue_of_stored_images(tmp_path: Path) -> None:
    data = run(disks(), tmp_path, image_augmentation="hue_range=0.5,saturation_range=0.5:1,rotation_range=10")
    copies = data.copies("train", 0, 4, 3)
    images, ids, _ = next(iter(data.examples("train").batch(4)))
    expected = augment(images, draw_parameters(ids, tf.constant(0, tf.int64), 3), data.augmentation)
    np.testing.assert_array_equal(next(iter(copies)), expected)
    assert np.std(expected.numpy().astype(int) - images.numpy()) > 10


@pytest.mark.parametrize("augmentation", ["hue_range=0.1", "saturation_range=0.5:1.5"])
def test_run_color_augmentation_of_gray_images_raises(augmentation: str, tmp_path: Path) -> None:
    files = {f"{number:02d}.png": encode(noise(32, number)) for number in range(12)}
    with pytest.raises(ValueError, match="image_augmentation must not have hue_range or saturation_range for gray"):
        run(files, tmp_path, image_augmentation=augmentation)
    with pytest.raises(ValueError, match="set image_channels=rgb or remove them"):
        Preprocess(image_channels="gray", image_augmentation=augmentation)
    assert Preprocess(image_channels="rgb", image_augmentation=augmentation).channels() == 3


def test_run_dicom_photographs_are_rgb_and_a_radiograph_is_repeated(tmp_path: Path) -> None:
    """Fails if ingest refuses color before it is known whether the set is in color."""
    for number in range(40):
        path = tmp_path / "dicom" / ("red", "green")[number % 2] / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph = {
            "Modality": "XC",
            "SamplesPerPixel": 3,
            "PhotometricInterpretation": "RGB",
            "PlanarConfiguration": 0,
        }
        tags = {"PatientID": f"p{number}", "SOPInstanceUID": f"1.2.{number}"}
        pixels = disk((RED, GREEN)[number % 2], number) if number else noise(64)
        path.write_bytes(dicom_file(pixels, **tags, **(photograph if number else {})))
    settings = Ingest(data_format="dicom", data_source=str(tmp_path / "dicom"), data_labels="red", data_deidentify="no",
                      data_test_fraction=0.3, data_validation_fraction=0.3)  # fmt: skip
    ingest.run(settings, tmp_path / "catalog")
    task.run(Preprocess(image_size=32), tmp_path / "catalog", tmp_path / "shards")
    data = Shards.read(tmp_path / "shards")
    assert {image.shape for image in stored(data).values()} == {(32, 32, 3)}
    assert data.summary["color"]["in_color"] == 39
    assert data.summary["converted"] == {"DICOM": 1, "DICOM in color": 39}


def test_run_ham10000_is_rgb_without_defects(test_data: Path, tmp_path: Path) -> None:
    """533 photographs of as many lesions: none is inverted, in another color or a near duplicate."""
    classes = "akiec,bcc,bkl,df,mel,nv,vasc"
    settings = Ingest(data_format="folders", data_source=str(test_data / "ham10000_224"), data_labels=classes)
    ingest.run(settings, tmp_path / "catalog")
    assert len(Catalog.read(tmp_path / "catalog").rows) == 533
    task.run(Preprocess(image_size=32), tmp_path / "catalog", tmp_path / "shards")
    data = Shards.read(tmp_path / "shards")
    assert data.summary["color"] == {"images": 533, "in_color": 533, "sampled": 128, "sampled_in_color": 128}
    assert (data.image_input.channels, data.summary["converted"]) == (3, {})
    summary = json.loads((tmp_path / "shards" / "data.json").read_text())
    assert summary["suspects"] == []
    assert set(data.rows["color"]) == {"yes"}
