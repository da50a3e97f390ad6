"""An attention-guided network from training to its published files, on images with small opacities."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from radiograft.config import Evaluate
from radiograft.data.catalog import prediction_frame
from radiograft.data.shards.dataset import Shards
from radiograft.drift.reference import EmbeddingModel
from radiograft.evaluation.branches import BranchPredictions, branch_results, predict_branches
from radiograft.evaluation.predictions import PUBLISHED
from radiograft.explain.class_activation import HeatMaps
from radiograft.imaging.decode import encode_png
from radiograft.models import artifact
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.registry.training_types import BranchResult
from radiograft.training.attention import draw_places
from radiograft.training.tasks.multilabel import validation_metrics
from tests.helpers import small_opacities
from tests.helpers.small_opacities import FINE_TUNE, LABEL, SIDE
from tests.helpers.stages import Trained, run_fine_tune
from tests.helpers.tensorboard_events import scalars

EVALUATE = Evaluate(publish_registry="none", evaluate_bootstrap_samples=200)
BRANCHES = ["global", "local", "fusion", "random_local", "random_fusion"]


class Guided(NamedTuple):
    """A trained network with its predictions of the test images."""

    data: Shards
    start: Path
    trained: Trained
    network: keras.Model
    predictions: pd.DataFrame
    branches: BranchPredictions

    @property
    def images(self) -> np.ndarray:
        return np.concatenate(list(self.data.images("test", 64).as_numpy_iterator()))


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Guided:
    folder = tmp_path_factory.mktemp("guided")
    data, start = small_opacities.write_shards(folder / "shards"), small_opacities.write_start(folder / "start")
    trained = run_fine_tune(FINE_TUNE, data.folder, start, folder)
    network, strategy = artifact.load_model(trained.model), tf.distribute.get_strategy()
    scores = Predictor(network, strategy).predict(data.images("test", 64))
    predictions = prediction_frame(data.split("test"), data.labels, scores).assign(strategy=PUBLISHED)
    branches = predict_branches(trained.model, data, "test", strategy, FINE_TUNE.train_seed)
    assert branches is not None
    return Guided(data, start, trained, network, predictions, branches)


@pytest.fixture(scope="module")
def results(guided: Guided) -> dict[str, BranchResult]:
    comparison = branch_results(guided.branches, EVALUATE, guided.predictions)["branches"]
    assert comparison["n_images"] == len(guided.predictions)
    return {branch["branch"]: branch for branch in comparison["branches"]}


@pytest.mark.parametrize("branch", ["global", "random_local", "random_fusion"])
def test_attention_guided_beats_global_branch_and_random_crop(results: dict[str, BranchResult], branch: str) -> None:
    """The cavity of an opacity only shows at full size: the gain comes from the place of the crop."""
    difference = results[branch]["difference"]
    assert difference is not None
    assert difference["low"] is not None
    assert difference["low"] > 0


def test_crops_contain_the_opacities(guided: Guided) -> None:
    brightest = [np.unravel_index(np.argmax(image), image.shape) for image in guided.images]
    x, y, width, height = (SIDE * guided.branches.boxes).T
    inside = [
        x[number] <= column < x[number] + width[number] and y[number] <= row < y[number] + height[number]
        for number, (row, column, _) in enumerate(brightest)
    ]
    assert np.mean(inside) > 0.9
    assert (width * height).mean() < SIDE**2 / 4


def test_branches_are_trained_in_order_and_fusion_starts_as_the_global_branch(guided: Guided) -> None:
    stages = json.loads((guided.trained.model / "branches.json").read_text())
    assert [stage["branch"] for stage in stages] == BRANCHES
    by_name = {stage["branch"]: stage["metrics"]["val_auroc"] for stage in stages}
    assert min(by_name["fusion"], by_name["random_fusion"]) >= by_name["global"] - 1e-3  # cached in half precision


def test_published_network_has_the_metrics_of_the_trained_fusion(guided: Guided) -> None:
    """The parts were trained apart, on activations in half precision; the network must join the same parts."""
    stages = {stage["branch"]: stage for stage in json.loads((guided.trained.model / "branches.json").read_text())}
    images = guided.data.images("validation", 64)
    scores = Predictor(guided.network, tf.distribute.get_strategy()).predict(images)
    metrics = validation_metrics(guided.data.truth("validation"), scores)
    assert metrics == pytest.approx({name: stages["fusion"]["metrics"][name] for name in metrics}, abs=2e-3)


def test_each_stage_logs_to_tensorboard(guided: Guided) -> None:
    stages = {stage["branch"]: stage for stage in json.loads((guided.trained.model / "branches.json").read_text())}
    folders = {"fine_tuning": "global", "local_branch": "local", "fusion": "fusion"}
    for folder, branch in folders.items():
        assert len(scalars(guided.trained.logs / folder / "validation")["epoch_auroc"]) == stages[branch]["epochs"]
    assert (guided.trained.logs / "random_local_branch").is_dir()
    assert (guided.trained.logs / "random_fusion").is_dir()


def test_global_branch_equals_a_network_without_others(guided: Guided, tmp_path: Path) -> None:
    """The other stages must not change the global branch."""
    alone = run_fine_tune(
        dataclasses.replace(FINE_TUNE, model_branches="global"), guided.data.folder, guided.start, tmp_path
    )
    assert not (alone.model / "branches.keras").exists()
    scores = Predictor(artifact.load_model(alone.model), tf.distribute.get_strategy()).predict(
        guided.data.images("test", 64)
    )
    np.testing.assert_array_equal(scores[:, 0], guided.branches.frames["global"][f"score:{LABEL}"].astype("float32"))


def test_network_is_flat_with_built_in_layers(guided: Guided) -> None:
    assert not [layer.name for layer in guided.network.layers if isinstance(layer, keras.Model)]
    assert all(type(operation).__module__.startswith("keras.") for operation in guided.network.operations)
    assert guided.network.input_shape == (None, SIDE, SIDE, 1)
    spec = ModelSpec.read(guided.trained.model)
    assert (spec.branches, spec.image_size, spec.cut_off) == ("attention_guided", SIDE, "first")


SERVE = """
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
files = [path.read_bytes() for path in sorted(Path(sys.argv[2]).iterdir())]
np.save(sys.argv[3], serve(image_bytes=tf.constant(files))["probabilities"].numpy())
assert "radiograft" not in sys.modules
"""


def test_saved_model_alone_gives_the_recorded_predictions(guided: Guided, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    for number, image in enumerate(guided.images[:20]):
        (tmp_path / "files" / f"{number:02d}.png").write_bytes(encode_png(image))
    arguments = [str(guided.trained.model / "saved_model"), str(tmp_path / "files"), str(tmp_path / "scores.npy")]
    subprocess.run([sys.executable, "-c", SERVE, *arguments], check=True, cwd=tmp_path)
    scores, recorded = np.load(tmp_path / "scores.npy")[:, 0], guided.predictions[f"score:{LABEL}"][:20]
    assert np.ptp(recorded) > 0.5
    np.testing.assert_allclose(scores, recorded, rtol=0, atol=1e-5)


def test_grad_cam_explains_the_global_branch(guided: Guided) -> None:
    heat = HeatMaps(guided.network, tf.distribute.get_strategy(), blocks=("first",)).grad_cam(guided.images[:8], 0)
    assert heat.shape == (8, SIDE, SIDE)
    assert np.isfinite(heat).all()
    assert heat.max() == pytest.approx(1.0)


def test_drift_embeds_the_global_features(guided: Guided) -> None:
    batches = tf.data.Dataset.from_tensor_slices(guided.images[:8]).batch(8)
    scores, features = EmbeddingModel(guided.network, tf.distribute.get_strategy()).embed(batches)
    np.testing.assert_allclose(scores[:, 0], guided.predictions[f"score:{LABEL}"][:8], atol=1e-5)
    assert features.shape == (8, 16)


def test_random_places_depend_on_image_and_view_only(guided: Guided) -> None:
    first, again, other = (draw_places(guided.data, "train", 3, copy) for copy in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min(axis=1).max() > 0.1
    assert abs(first.mean() - 0.5) < 0.05
    assert first.min() >= 0
    assert first.max() < 1
