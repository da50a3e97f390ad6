"""Classes that differ only in their hue: a model of color learns them, a gray one cannot, and what is published works.

Red and green disks have the same luminance.
"""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from PIL import Image

from radiograft import load_version
from radiograft.config import Evaluate, Ingest, Preprocess, Publish
from radiograft.data.shards.dataset import Shards
from radiograft.drift.monitor import compare_with_version
from radiograft.drift.reference import REFERENCE, ReferenceSample
from radiograft.evaluation import champion
from radiograft.metrics.multilabel import auroc
from radiograft.models import artifact
from radiograft.models.heads import cast_to_policy
from radiograft.models.spec import ModelSpec
from radiograft.serving.loaded_version import LoadedVersion
from radiograft.stages.evaluate import task as evaluate
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.stages.publish import task as publish
from radiograft.training import devices
from tests.helpers.colors import GREEN, RED, disk
from tests.helpers.images import encode, noise
from tests.helpers.stages import EXTRACT_FEATURES, FINE_TUNE, Trained, run_extract_features, run_fine_tune

IMAGES = 72  # of each class
SIZE = 32
FEATURES = dataclasses.replace(EXTRACT_FEATURES, model_random_baseline=False, train_feature_epochs=12)


class Run(NamedTuple):
    """Outputs of the stages in one number of channels."""

    shards: Path
    features: Trained
    data: Shards


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disks")
    for kind, (name, color) in enumerate({"red": RED, "green": GREEN}.items()):
        (folder / name).mkdir()
        for number in range(IMAGES):
            path = folder / name / f"{name}-{number}.png"
            path.write_bytes(encode(disk(color, 2 * number + kind)))
    settings = Ingest(
        data_format="folders", data_source=str(folder), data_labels="red", data_test_fraction=0.3,
        data_validation_fraction=0.25,
    )  # fmt: skip
    ingest.run(settings, folder / "catalog")
    return folder / "catalog"


def trained(catalog: Path, folder: Path, channels: str) -> Run:
    settings = Preprocess(image_size=SIZE, image_channels=channels)
    preprocess.run(settings, catalog, folder / "shards")
    features = run_extract_features(FEATURES, folder / "shards", folder / "features")
    return Run(folder / "shards", features, Shards.read(folder / "shards"))


@pytest.fixture(scope="module")
def gray(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(catalog, tmp_path_factory.mktemp("gray"), "gray")


@pytest.fixture(scope="module")
def color(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(catalog, tmp_path_factory.mktemp("color"), "auto")


def auroc_on_test(run: Run) -> float:
    network = artifact.load_model(run.features.model)
    scores = network.predict(run.data.images("test", 16), verbose=0)
    return auroc(run.data.truth("test")[:, 0], scores[:, 0])


class Published(NamedTuple):
    """A published version of color."""

    registry: Path
    evaluation: Path
    logs: Path
    report: str

    @property
    def uri(self) -> str:
        return f"{self.registry}/disks/1"


@pytest.fixture(scope="module")
def published(color: Run, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    fine_tuned = run_fine_tune(FINE_TUNE, color.shards, color.features.model, folder / "fine_tuning")
    inputs = evaluate.EvaluateInputs(color.shards, color.features.features, color.features.model, fine_tuned.model)
    settings = Evaluate(
        publish_registry=str(folder / "registry"), publish_model_name="disks", evaluate_bootstrap_samples=100,
        evaluate_min_patients=1,
    )  # fmt: skip
    evaluate.run(settings, inputs, "run", folder / "evaluation", folder / "report.html", folder / "logs")
    sources = publish.PublishInputs(fine_tuned.model, folder / "evaluation", folder / "report.html")
    publishing = Publish(publish_registry=str(folder / "registry"), publish_model_name="disks")
    publish.run(publishing, sources, "run", folder / "version.json")
    report = (folder / "report.html").read_text()
    return Published(folder / "registry", folder / "evaluation", folder / "logs", report)


@pytest.fixture(scope="module")
def version(published: Published) -> LoadedVersion:
    return load_version(published.uri)


def test_stages_learn_hue_only_in_color(gray: Run, color: Run) -> None:
    assert color.data.image_input.channels == 3
    assert gray.data.image_input.channels == 1
    assert auroc_on_test(color) > 0.95
    assert abs(auroc_on_test(gray) - 0.5) < 0.25


def test_evaluate_model_of_color_is_accurate_and_recorded(published: Published) -> None:
    results = json.loads((published.evaluation / "metrics.json").read_text())
    assert results["metrics"]["fine_tuning"]["test"]["mean"]["auroc"]["value"] > 0.95
    assert results["data"]["image_channels"] == 3
    assert results["data"]["color"]["in_color"] == 2 * IMAGES
    reference = ReferenceSample.read((published.evaluation / REFERENCE).read_bytes())
    assert reference.ranges.shape == (7, 2)
    contract = json.loads((published.evaluation.parent / "fine_tuning" / "model" / "contract.json").read_text())
    assert contract["channels"] == 3
    assert contract["signatures"]["pictures"]["pictures"]["shape"] == [None, SIZE, SIZE, 3]


ALONE = """
import json, pathlib, sys
import numpy as np
import tensorflow as tf
folder = pathlib.Path(sys.argv[1])
model = tf.saved_model.load(str(folder))
sample = folder / "assets.extra" / "sample"
recorded = json.loads((sample / "probabilities.json").read_text())
names = list(recorded["probabilities"])
files = [(sample / name).read_bytes() for name in names]
expected = np.array([recorded["probabilities"][name] for name in names])
served = model.signatures["serving_default"](image_bytes=tf.constant(files))["probabilities"].numpy()
pixels = [tf.io.decode_png(file, channels=3) for file in files]
signature = model.signatures["pictures"]
side = signature.structured_input_signature[1]["pictures"].shape[1]
images = tf.stack([tf.image.resize(image, [side, side], antialias=True) for image in pixels])
by_pictures = signature(pictures=images)["probabilities"].numpy()
swapped = signature(pictures=images[..., ::-1])["probabilities"].numpy()
print(json.dumps({
    "difference": float(np.abs(served - expected).max()), "tolerance": recorded["tolerance"],
    "pictures": float(np.abs(by_pictures - expected).max()), "swapped": float(np.abs(swapped - expected).max()),
    "shape": signature.structured_input_signature[1]["pictures"].shape.as_list(),
    "radiograft": "radiograft" in sys.modules,
}))
"""


def test_published_version_tensorflow_alone_gives_recorded_predictions(published: Published) -> None:
    """Fails if a server needs this package, decodes to gray, or the order of the channels is wrong."""
    done = subprocess.run([sys.executable, "-c", ALONE, published.uri], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["difference"] <= found["tolerance"]
    assert found["pictures"] <= found["tolerance"]
    assert found["swapped"] > 10 * found["tolerance"]
    assert (found["shape"], found["radiograft"]) == ([None, SIZE, SIZE, 3], False)


def test_load_version_predicts_and_notes_images_of_another_kind(version: LoadedVersion, tmp_path: Path) -> None:
    files = {"red": encode(disk(RED, 999)), "green": encode(disk(GREEN, 998), "TIFF"), "gray": encode(noise(64))}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    table = version.predict([tmp_path / name for name in files]).set_index("file")
    red, green, gray_image = (table.loc[str(tmp_path / name)] for name in files)
    assert red["probability"] > green["probability"]
    assert "color" not in red["note"]
    assert gray_image["note"].startswith("gray; development images are in color")
    assert version.verify_golden_predictions() <= 1e-3


def test_heat_map_shows_the_image_in_color(version: LoadedVersion) -> None:
    """Fails if the overlay is gray. The last map has one cell, whose heat is 0 or 1: 60% of the brightest color."""
    content = encode(np.full((64, 64, 3), RED, np.uint8))
    overlay = np.asarray(Image.open(io.BytesIO(version.heat_map(content, "red"))))
    np.testing.assert_allclose(overlay.astype(int), np.broadcast_to((231, 165, 123), (SIZE, SIZE, 3)), atol=2)


def test_tensorboard_figures_are_in_color(published: Published) -> None:
    (sprite,) = published.logs.rglob("sprite.png")
    pixels = np.asarray(Image.open(sprite).convert("RGB"), int)
    assert np.ptp(pixels, axis=-1).max() > 100


def test_compare_with_version_of_a_model_of_color(published: Published, tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / "new" / ("red", "green")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(disk((RED, GREEN)[number % 2], 500 + number)))
    drift = compare_with_version(Path(published.uri) / "assets.extra", "folders", str(tmp_path / "new"), "standard")
    assert len(drift.new.sample.scores) == 12
    assert drift.new.unreadable == 0


def test_champion_of_color_is_compared_on_the_color_of_a_gray_run(published: Published, gray: Run) -> None:
    """Fails if a production model gets gray shards, or is skipped because of its channels."""
    settings = Evaluate(publish_registry=str(published.registry), publish_model_name="disks")
    found = champion.load_champion(settings, gray.data, devices.distribution_strategy(), "another run")
    assert found is not None
    assert found.predictions is not None, found.rejection_reason
    truth, scores = (found.predictions[column].to_numpy() for column in ("label:red", "score:red"))
    assert auroc(truth, scores) > 0.95


def test_cast_to_policy_network_of_color_keeps_predictions(color: Run) -> None:
    """Fails if normalization in half precision rounds pixels, or a layer before it is lost."""
    network, spec = artifact.load_model(color.features.model), ModelSpec.read(color.features.model)
    images = next(iter(color.data.images("test", 8)))
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        copy: Any = cast_to_policy(network, spec.tensors)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    policies = {name: copy.get_layer(name).compute_dtype for name in ("select_red", "normalise_red", "normalised")}
    assert set(policies.values()) == {"float32"}
    np.testing.assert_allclose(copy(images), network(images), atol=0.1)
