"""From shards to a published generator and to its use, in this process."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner, Result
from PIL import Image

from radiograft.config import Evaluate, ExtractFeatures, Preprocess, Publish, SuperResolution
from radiograft.config.resolution import fill_defaults
from radiograft.data.catalog import Catalog
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.super_resolution import shrink_to_pixels
from radiograft.imaging.decode import decode
from radiograft.models.artifact import export_saved_model
from radiograft.models.spec import ModelSpec
from radiograft.registry import production, versions
from radiograft.serving.loaded_generator import LoadedGenerator
from radiograft.serving.loaded_version import load_version
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import merge
from radiograft.stages.preprocess import task as preprocess
from radiograft.stages.super_resolution import task
from radiograft.training.checkpoints import Checkpoints
from radiograft_pipelines.cli.main import main as cli

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
    with pytest.raises(ValueError, match=r"publish_model_name .* got 'chest', whose version 1 is one of classifiers"):
        task.publish(
            dataclasses.replace(_publish(published), publish_registry=root, publish_model_name="chest"),
            published / "model", published / "evaluation", published / "report.html", "a", tmp_path / "v",
        )  # fmt: skip


def _generator(published: Path, number: int = 1) -> str:
    return f"{published}/registry/g/{number}"


@pytest.fixture(scope="module")
def enlarged(published: Path, catalog_folder: Path) -> Shards:
    settings = Preprocess(
        image_size=64, image_augmentation="none", image_super_resolution=_generator(published), preprocess_workers=2
    )
    parts = [published / f"part-{worker}" for worker in range(2)]
    for worker, part in enumerate(parts):
        preprocess.preprocess_share(settings, catalog_folder, part, Checkpoints(""), worker)
    merge.run(settings, catalog_folder, parts, published / "enlarged")
    return Shards.read(published / "enlarged")


def test_preprocess_with_a_generator_enlarges_the_small_images(
    published: Path, enlarged: Shards, catalog_folder: Path, tmp_path: Path
) -> None:
    preprocess.run(Preprocess(image_size=32, image_augmentation="none"), catalog_folder, tmp_path)
    (small,) = Shards.read(tmp_path).chosen("test", [0]).as_numpy_iterator()
    (stored,) = enlarged.chosen("test", [0]).as_numpy_iterator()
    serve = tf.saved_model.load(_generator(published)).signatures["serving_default"]
    np.testing.assert_array_equal(stored, serve(small=tf.constant(small[None]))["enlarged"][0])


def test_preprocess_with_a_generator_says_so_in_the_data_summary(published: Path, enlarged: Shards) -> None:
    manifest = versions.read_manifest(str(published / "registry"), "g", 1)
    assert enlarged.image_input.enlarged_by == (_generator(published), 2, manifest["sha256"])
    notes = " ".join(enlarged.summary["notes"])
    assert "images were enlarged by a network from 32 to 64 pixels: their detail is an estimate" in notes
    assert f"{len(enlarged.rows)} of {len(enlarged.rows)} images had more than 32 pixels a side" in notes


def test_served_classifier_enlarges_files_as_preprocess_did(
    enlarged: Shards, catalog_folder: Path, tmp_path: Path
) -> None:
    """The SavedModel holds the generator: its answer for a file is that for the stored pixels."""
    image = keras.Input((64, 64, 1), dtype="uint8")
    network = keras.Model(image, keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))[:, 900:902])
    spec = ModelSpec(64, ("a", "b"), "b", "none", "", "fine_tuning", enlarged_by=enlarged.image_input.enlarged_by)
    export_saved_model(network, spec, tmp_path / "model")
    row = enlarged.split("test").iloc[0]
    catalog = Catalog.read(catalog_folder)
    uri = catalog.rows.set_index("image_id").loc[row["image_id"], "uri"]
    (stored,) = enlarged.chosen("test", [0]).as_numpy_iterator()
    served = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    answer = served(image_bytes=tf.constant([Path(uri).read_bytes()]))["probabilities"][0]
    np.testing.assert_allclose(answer, stored.reshape(-1)[900:902] / 255, atol=1e-6)


def test_contract_with_a_generator_reads_back_and_names_it(enlarged: Shards, tmp_path: Path) -> None:
    spec = ModelSpec(64, ("a",), "b", "none", "", "fine_tuning", enlarged_by=enlarged.image_input.enlarged_by)
    spec.write(tmp_path)
    read = ModelSpec.read(tmp_path)
    assert read == spec
    assert read.image_input == enlarged.image_input
    assert "enlarged by the network" in read.inputs["picture"].meaning


def test_decode_with_another_manifest_than_recorded_raises(enlarged: Shards) -> None:
    assert enlarged.image_input.enlarged_by
    other = enlarged.image_input._replace(enlarged_by=enlarged.image_input.enlarged_by._replace(sha256="0" * 64))
    with pytest.raises(ValueError, match=r"must be the generator with the manifest 0{64}, got"):
        decode(tf.io.encode_png(np.zeros((32, 32, 1), "uint8")), other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 96}, r"must be a generator of images of 96 pixels .* of 64 pixels"),
        ({"image_channels": "rgb"}, r"must be a generator of images with 3 channels, got .* with 1"),
    ],
)
def test_ingest_generator_of_other_images_raises(
    published: Path, nih_folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _ingest(nih_folder, tmp_path, image_super_resolution=_generator(published), **changes)


def test_ingest_generator_that_does_not_exist_raises(published: Path, nih_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"g has no version 7 in .*; existing versions: 1"):
        _ingest(nih_folder, tmp_path, image_super_resolution=_generator(published, 7))


def test_ingest_name_of_generators_for_a_classifier_raises(published: Path, nih_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"publish_model_name must be a name of classifiers, got 'g'"):
        _ingest(nih_folder, tmp_path, publish_registry=str(published / "registry"), publish_model_name="g")


def _ingest(source: Path, output: Path, **changes: Any) -> bool:
    values = {"data_source": str(source), "data_format": "chestxray14", "image_size": 64, "train_batch_size": 4}
    values |= {"publish_registry": str(output / "registry")}
    return ingest.run_with_all_settings(fill_defaults({**values, **changes}), output / "catalog", "a")


def test_published_generator_is_rejected_as_a_classifier(published: Path) -> None:
    with pytest.raises(ValueError, match=r"version 1 of g must be a classifier, got a generator of super-resolution"):
        load_version(_generator(published))
    with pytest.raises(ValueError, match=r"version 1 of g must be a classifier"):
        production.promote(str(published / "registry"), "g", 1, None, reason="a test")


def test_training_logs_losses_psnr_and_images(published: Path) -> None:
    (folder,) = (published / "registry" / "_tensorboard" / "g").iterdir()
    (file,) = folder.rglob("events.*")
    events = [value for event in tf.compat.v1.train.summary_iterator(str(file)) for value in event.summary.value]
    tags = {value.tag for value in events}
    assert {"super_resolution/pixel", "super_resolution/adversarial", "super_resolution/validation_psnr"} <= tags
    assert "bicubic, super-resolution, real" in {tag.rpartition("/")[0] or tag for tag in tags}


def test_enlarge_burns_a_note_below_the_image(published: Path, tmp_path: Path) -> None:
    pixels = np.tile(np.arange(0, 240, 10, dtype="uint8"), (24, 1))
    Image.fromarray(pixels).save(tmp_path / "film.png")
    enlarged = LoadedGenerator(_generator(published)).enlarge(tmp_path / "film.png")
    written = np.asarray(Image.open(io.BytesIO(enlarged.png)))
    np.testing.assert_array_equal(written[:64], enlarged.pixels[..., 0])
    assert written.shape[0] > 64
    assert written[64:].max() > 200


def test_enlarge_of_a_larger_image_raises(published: Path, tmp_path: Path) -> None:
    Image.new("L", (40, 33)).save(tmp_path / "film.png")
    with pytest.raises(ValueError, match=r"sides must be at most 32 pixels, got 40 x 33"):
        LoadedGenerator(_generator(published)).enlarge(tmp_path / "film.png")


def test_models_commands_know_generators(published: Path, tmp_path: Path) -> None:
    Image.new("L", (32, 32), 90).save(tmp_path / "film.png")
    options = ["--registry", str(published / "registry"), "--model", "g"]

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["models", *arguments, *options])

    assert re.search(r"1 +super-resolution +\S+ \S+ +32 to 64", run("list").output)
    assert "Experimental, research only, not for diagnosis" in run("show", "1").output
    assert "an enlarged image, shrunk, is its input within" in run("verify", "1").output
    assert "must be a classifier" in run("promote", "1").output
    enlarging = run("enlarge", "1", str(tmp_path / "film.png"), "--to", str(tmp_path / "out"))
    assert enlarging.exit_code == 0, enlarging.output
    assert (tmp_path / "out" / "1-film.png").is_file()
    refused = run("predict", "1", str(tmp_path / "film.png"))
    assert refused.exit_code == 1
    assert "enlarge images with `radiograft models enlarge`" in refused.output
