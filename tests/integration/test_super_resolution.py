"""From shards to a published generator, in this process."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from radiograft.config import Evaluate, ExtractFeatures, Preprocess, Publish, SuperResolution
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.super_resolution import shrink_to_pixels
from radiograft.registry import versions
from radiograft.stages.preprocess import task as preprocess
from radiograft.stages.super_resolution import task
from radiograft.training.checkpoints import Checkpoints

SETTINGS = SuperResolution(
    model_generator_filters=4, model_generator_blocks=1, train_generator_crop=16, train_pixel_steps=3,
    train_adversarial_steps=2,
)  # fmt: skip
BASE = ExtractFeatures(
    model_backbone="squeezenet", model_weights="none", model_cut_off="fire9_squeeze", train_batch_size=4
)


@pytest.fixture(scope="module")
def published(catalog_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generator")
    preprocess.run(Preprocess(image_size=64, image_augmentation="none"), catalog_folder, folder / "shards")
    task.train(SETTINGS, BASE, folder / "shards", folder / "model", Checkpoints(str(folder / "checkpoints")))
    evaluation = Evaluate(
        publish_registry=str(folder / "registry"), publish_model_name="g", evaluate_bootstrap_samples=100
    )
    task.evaluate(evaluation, folder / "shards", folder / "model", folder / "evaluation", folder / "report.html")
    task.publish(_publish(folder), folder / "model", folder / "evaluation", folder / "report.html", "a", folder / "v")
    return folder


def _publish(folder: Path) -> Publish:
    return Publish(publish_registry=str(folder / "registry"), publish_model_name="g")


def test_published_generator_is_a_version_of_its_own_kind(published: Path) -> None:
    manifest = versions.verify_version(str(published / "registry"), "g", 1)
    assert manifest["kind"] == "super_resolution"
    names = {name.removeprefix("assets.extra/") for name in manifest["files"]}
    assert {"model.keras", "super_resolution.json", "model_card.md", "report.html", "lineage.json"} <= names
    (lineage,) = versions.read_objects(str(published / "registry"), "g", 1, "lineage.json")
    assert lineage["settings"]["model_scale"] == 2
    card = (published / "registry/g/1/assets.extra/model_card.md").read_text()
    assert "Experimental, research only, not for diagnosis" in card


def test_published_saved_model_enlarges_and_its_output_shrinks_to_its_input(published: Path) -> None:
    serve = tf.saved_model.load(str(published / "registry/g/1")).signatures["serving_default"]
    (real,) = Shards.read(published / "shards").chosen("test", [0]).as_numpy_iterator()
    small = shrink_to_pixels(real[None], 2)
    enlarged = serve(small=tf.constant(small))["enlarged"].numpy()
    assert (enlarged.shape, enlarged.dtype) == ((1, 64, 64, 1), np.uint8)
    assert np.abs(shrink_to_pixels(enlarged, 2).astype(int) - small).max() <= 1


def test_evaluation_has_metrics_and_a_sheet(published: Path) -> None:
    results = json.loads((published / "evaluation" / task.METRICS).read_text())
    assert results["metrics"]["psnr"]["ours"]["mean"]["value"] > 20
    assert results["metrics"]["psnr"]["bicubic"]["difference"]["value"] > 0
    assert (published / "report.html").read_text().count("data:image/png;base64") == task.SHEETS


def test_publish_again_by_the_same_run_keeps_the_version(published: Path) -> None:
    inputs = (published / "model", published / "evaluation", published / "report.html")
    assert task.publish(_publish(published), *inputs, "a", published / "v2")["version"] == 1


def test_publish_under_the_name_of_a_classifier_raises(published: Path, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    root = str(tmp_path / "registry")
    versions.write_version(root, "chest", 1, {"saved_model.pb": tmp_path / "saved_model.pb"}, {"model": "chest"})
    with pytest.raises(ValueError, match=r"publish_model_name .* got 'chest', whose version 1 is a classifier"):
        task.publish(
            dataclasses.replace(_publish(published), publish_registry=root, publish_model_name="chest"),
            published / "model", published / "evaluation", published / "report.html", "a", tmp_path / "v",
        )  # fmt: skip
