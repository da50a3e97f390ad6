"""Predictions on images that differ from those a version was made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from radiograft import load_version
from radiograft.config import Publish
from radiograft.drift.image_ranges import unknown_ranges
from radiograft.serving.training_images import TrainingImages
from radiograft.stages.publish import task as publish
from tests.helpers.images import encode, noise
from tests.helpers.stages import Evaluated


@pytest.fixture(scope="module")
def version(evaluation: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A version made from gray images."""
    folder = tmp_path_factory.mktemp("registry")
    inputs = publish.PublishInputs(evaluation.inputs.model, evaluation.folder, evaluation.report)
    publish.run(Publish(publish_registry=str(folder), publish_model_name="chest"), inputs, "run", folder / "v.json")
    return f"{folder}/chest/1"


@pytest.fixture(scope="module")
def known(nih_folder: Path) -> Path:
    """An image that the version was made from."""
    return min(nih_folder.rglob("*.png"))


def notes(version: str, *files: Path) -> list[str]:
    table = load_version(version).predict(files)
    return list(table.groupby("file", sort=False)["note"].unique().explode())


def test_predict_notes_images_of_another_kind(version: str, known: Path, tmp_path: Path) -> None:
    """Fails if a photograph, a tiny file or a blank one is predicted without a word."""
    generator = np.random.default_rng(0)
    photograph = generator.integers(0, 256, (64, 64, 3), "uint8")
    for name, pixels in {"photo": photograph, "small": noise(20), "white": np.full((64, 64), 250, "uint8")}.items():
        (tmp_path / f"{name}.png").write_bytes(encode(pixels))
    names = [known, *(tmp_path / f"{name}.png" for name in ("photo", "small", "white"))]
    own, photo, small, white = notes(version, *names)
    assert own == ""
    assert photo.startswith("in color; development images are gray")
    assert "20 x 20 pixels; development images have" in small
    assert "mean gray value is 250, outside" in white


def folder_with(tmp_path: Path, lineage: dict[str, object], converted: dict[str, int]) -> Path:
    (tmp_path / "lineage.json").write_text(json.dumps(lineage))
    (tmp_path / "metrics.json").write_text(json.dumps({"data": {"converted": converted}}))
    return tmp_path


@pytest.mark.parametrize(
    "lineage",
    [
        {"source": "gs://bucket/phantom", "settings": {"data_format": "phantom"}},
        {"source": "/data/phantom-400-patients-seed-0", "settings": {"data_format": "chestxray14"}},
    ],
)
def test_warnings_synthetic_training_images(tmp_path: Path, lineage: dict[str, object]) -> None:
    """The demo's model called a real radiograph `present` without a word."""
    images = TrainingImages.read(folder_with(tmp_path, lineage, {}))
    assert images.warnings[0] == (
        f"this version was made from synthetic images ({lineage['source']}): its probabilities say nothing about real "
        "radiographs"
    )


def test_warnings_name_the_network_that_enlarges_images(tmp_path: Path) -> None:
    lineage = {"source": "s", "enlarged_by": {"uri": "/registry/g/1", "scale": 2, "sha256": "ab"}}
    (tmp_path / "lineage.json").write_text(json.dumps(lineage))
    warning, *_ = TrainingImages.read(tmp_path).warnings
    assert warning.startswith("a network (/registry/g/1) enlarged the training images and enlarges each file")


def test_warnings_real_images_without_record(tmp_path: Path) -> None:
    images = TrainingImages.read(folder_with(tmp_path, {"source": "/data/nih", "settings": {}}, {}))
    assert [warning[:49] for warning in images.warnings] == ["this version records no sizes and gray values of "]
    assert images._replace(ranges=np.zeros((4, 2))).warnings == ()


@pytest.mark.parametrize(("converted", "noted"), [({"RGB": 3}, True), ({}, True), ({"RGB in color": 1}, False)])
def test_describe_differences_color(tmp_path: Path, converted: dict[str, int], noted: bool) -> None:
    images = TrainingImages.read(folder_with(tmp_path, {}, converted))
    red = np.zeros((32, 32, 3), "uint8")
    red[..., 0] = 200
    found = images.describe_differences(encode(red), noise(32)[..., np.newaxis])
    assert found == (["in color; development images are gray"] if noted else [])


@pytest.mark.parametrize(
    ("in_color", "of_gray", "of_color"),
    [
        (3, ["gray; development images are in color"], []),
        (2, [], []),
        (0, [], ["in color; development images are gray"]),
    ],
)
def test_describe_differences_of_a_version_that_counted_colors(
    tmp_path: Path, in_color: int, of_gray: list[str], of_color: list[str]
) -> None:
    """Fails if a model of color warns of images in color, or does not warn of gray ones."""
    counts = {"images": 3, "in_color": in_color, "sampled": 3, "sampled_in_color": in_color}
    (tmp_path / "metrics.json").write_text(
        json.dumps({"data": {"image_channels": 3, "color": counts, "converted": {}}})
    )
    images, red = TrainingImages.read(tmp_path), np.zeros((32, 32, 3), "uint8")
    red[..., 0] = 200
    assert images.describe_differences(encode(noise(32)), red) == of_gray
    assert images.describe_differences(encode(red), red) == of_color


def test_read_version_without_records(tmp_path: Path) -> None:
    images = TrainingImages.read(tmp_path)
    assert (images.source, images.synthetic, images.in_color) == ("", False, None)
    np.testing.assert_array_equal(images.ranges, unknown_ranges())
