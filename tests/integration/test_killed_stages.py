"""Training stages killed with SIGKILL at any moment: the next attempt has the same result as an undisturbed run."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import shutil
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radiograft import storage
from radiograft.config import FineTune
from radiograft.config.training import Recipe
from radiograft.data.shards.dataset import Shards
from radiograft.models import artifact
from radiograft.training import trainer
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.feature_extraction import RANDOM_PREDICTIONS
from tests.helpers.forked import run_forked
from tests.helpers.killed_stage import EPOCHS, FINE_TUNE, STAGES, STEPS, run_stage, sample_network, small_network
from tests.helpers.stages import NO_CHECKPOINTS, Trained, run_fine_tune
from tests.helpers.studies import study_catalog, write_shards
from tests.helpers.tensorboard_events import scalars

Resumes = Callable[[FineTune, Path, Path], bool]
RATE = "radiograft.training.trainer learning_rate"  # called before each training step
SAVE = "radiograft.storage write_bytes"  # called once per checkpoint
SYNC = "os fsync"  # in each local write, before the file becomes visible


@pytest.fixture(scope="module")
def start(shards_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = Shards.read(shards_folder)
    return small_network(tmp_path_factory.mktemp("start") / "model", data.image_size, data.labels)


class Attempts:
    """Runs attempts of a stage, each in its own process and folder, as pods do."""

    def __init__(self, stage: str, shards: Path, start: Path, kept: str, scratch: Path) -> None:
        self.kept, self.scratch, self.logs = kept, scratch, list[str]()
        self.arguments = (stage, str(shards), str(start), kept)

    def run(self, moment: str = "") -> Path:
        """Runs an attempt that must be killed at `moment`, or succeed if it is empty; returns its output folder."""
        out = self.scratch / str(len(self.logs))
        out.mkdir()
        process = run_forked(run_stage, *self.arguments, str(out), *moment.split(), scratch=out)
        assert process.status == (-signal.SIGKILL if moment else 0)
        self.logs.append(process.output)
        return out

    def run_again(self, last: Path) -> None:
        """Runs an attempt after one that was killed before the upload of its outputs: it trains nothing."""
        epochs = self.epochs()
        check_same_model(self.run(), last)
        assert self.epochs() == epochs

    def epochs(self) -> list[tuple[str, int]]:
        """Returns the name of the training and the number of each epoch that any attempt logged."""
        epochs = re.findall(r"\| ([a-z ]+): epoch (\d+) of", "".join(self.logs))
        return [(name, int(number)) for name, number in epochs]

    def checkpoints(self) -> list[str]:
        """Returns the names of the remaining checkpoints."""
        return [entry.name for entry in storage.list_files(self.kept)]


def check_same_model(one: Path, other: Path) -> None:
    assert (one / "model" / "history.json").read_text() == (other / "model" / "history.json").read_text()
    weights, others = (artifact.load_model(folder / "model").get_weights() for folder in (one, other))
    for weight, same in zip(weights, others, strict=True):
        np.testing.assert_array_equal(weight, same)


def check_curves(logs: Path) -> None:
    for run in ("train", "validation"):
        assert len(scalars(logs / run)["epoch_loss"]) == EPOCHS


def test_online_fine_tuning_killed_resumes(shards_folder: Path, start: Path, tmp_path: Path) -> None:
    """Killed while the checkpoint of epoch 3 is written: it is on disk, but not visible yet."""
    attempts = Attempts("online", shards_folder, start, str(tmp_path / "kept"), tmp_path)
    attempts.run(f"{SYNC} 3")
    assert [Path(name).name for name in attempts.checkpoints()] == ["00000002.state"]
    last = attempts.run()
    assert "fine tuning: resuming after epoch 2\n" in attempts.logs[1]
    assert attempts.epochs() == [("fine tuning", number) for number in (1, 2, 3, 4)]
    check_same_model(last, STAGES["online"](shards_folder, start, NO_CHECKPOINTS, tmp_path / "whole").model.parent)
    check_curves(last / "logs" / "fine_tuning")
    attempts.run_again(last)


def test_chexnet_killed_resumes_with_its_moving_statistics(shards_folder: Path, tmp_path: Path) -> None:
    """The settings of the preset, on a small network that trains from its first convolution on."""
    data = Shards.read(shards_folder)
    start = small_network(tmp_path / "start", data.image_size, data.labels, normalized=True)
    attempts = Attempts("chexnet", shards_folder, start, str(tmp_path / "kept"), tmp_path)
    attempts.run(f"{RATE} {2 * STEPS + 3}")
    last = attempts.run()
    assert attempts.epochs() == [("fine tuning", number) for number in (1, 2, 3, 4)]
    whole = STAGES["chexnet"](shards_folder, start, NO_CHECKPOINTS, tmp_path / "whole").model.parent
    check_same_model(last, whole)
    history = json.loads((whole / "model" / "history.json").read_text())
    losses = [row["val_objective"] for row in [history["initial"], *history["epochs"]]]
    assert history["best_epoch"] == losses.index(min(losses)) > 0
    network = artifact.load_model(whole / "model")
    for name in ("first_bn", "second_bn", "third_bn"):
        assert np.abs(network.get_layer(name).moving_mean).max() > 0.01, name


def test_search_on_cached_activations_killed_resumes(
    shards_folder: Path, start: Path, embedded: str, tmp_path: Path
) -> None:
    """Killed in epoch 3 of the second candidate, with checkpoints in an object store."""
    attempts = Attempts("search", shards_folder, start, f"{embedded}/{uuid.uuid4()}", tmp_path)
    attempts.run(f"{RATE} {(EPOCHS + 2) * STEPS + 1}")
    last = attempts.run()
    assert attempts.epochs() == [("fine tuning", number) for number in (1, 2, 3, 4, 1, 2, 3, 4)]
    assert re.findall(r"resuming after epoch \d", attempts.logs[1]) == [
        "resuming after epoch 4",
        "resuming after epoch 2",
    ]
    whole = STAGES["search"](shards_folder, start, NO_CHECKPOINTS, tmp_path / "whole").model.parent
    check_same_model(last, whole)
    assert (last / "model" / "search.json").read_text() == (whole / "model" / "search.json").read_text()
    for cut_off in ("second", "third"):
        check_curves(last / "logs" / "fine_tuning" / cut_off)
    attempts.run_again(last)


@pytest.mark.parametrize("stage", ["class_map", "self_transfer"])
def test_class_map_head_killed_resumes(stage: str, shards_folder: Path, tmp_path: Path) -> None:
    """Killed while the checkpoint of epoch 2 is written: the last activations are computed again, epoch 1 is not."""
    attempts = Attempts(stage, shards_folder, Path(), str(tmp_path / "kept"), tmp_path)
    attempts.run(f"{SAVE} 2")
    last = attempts.run()
    assert "feature extraction: resuming after epoch 1\n" in attempts.logs[1]
    assert attempts.epochs() == [("feature extraction", number) for number in (1, 2, 3)]
    whole = STAGES[stage](shards_folder, Path(), NO_CHECKPOINTS, tmp_path / "whole").model.parent
    check_same_model(last, whole)
    attempts.run_again(last)


def test_attention_guided_killed_in_last_branch_resumes(shards_folder: Path, start: Path, tmp_path: Path) -> None:
    """Killed in epoch 2 of the control's fusion, the last of five trainings."""
    attempts = Attempts("guided", shards_folder, start, str(tmp_path / "kept"), tmp_path)
    attempts.run(f"{RATE} {(4 * 2 + 1) * STEPS + 1}")
    last = attempts.run()
    names = ("fine tuning", "local branch", "fusion", "random local branch", "random fusion")
    assert attempts.epochs() == [(name, number) for name in names for number in (1, 2)]
    whole = STAGES["guided"](shards_folder, start, NO_CHECKPOINTS, tmp_path / "whole").model.parent
    check_same_model(last, whole)
    assert (last / "model" / "branches.json").read_text() == (whole / "model" / "branches.json").read_text()
    branches = (artifact.load_model(folder / "model", artifact.BRANCHES).get_weights() for folder in (last, whole))
    for one, same in zip(*branches, strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("further", ["patient_data", "lateral"])
def test_network_of_samples_killed_resumes(further: str, shards_folder: Path, tmp_path: Path) -> None:
    """Killed in epoch 3. Fails if the dropout of patient data, or the lateral cache, depends on where it resumed."""
    shards = shards_folder if further == "patient_data" else write_shards(study_catalog(tmp_path / "images"), tmp_path)
    start = sample_network(tmp_path / "start", shards)
    attempts = Attempts("samples", shards, start, str(tmp_path / "kept"), tmp_path)
    attempts.run(f"{RATE} {2 * STEPS + 3}")
    last = attempts.run()
    assert "fine tuning: resuming after epoch 2\n" in attempts.logs[1]
    assert attempts.epochs() == [("fine tuning", number) for number in (1, 2, 3, 4)]
    check_same_model(last, STAGES["samples"](shards, start, NO_CHECKPOINTS, tmp_path / "whole").model.parent)
    attempts.run_again(last)


def test_feature_extraction_killed_resumes(feature_extraction: Trained, shards_folder: Path, tmp_path: Path) -> None:
    """Killed in the pass of the random backbone, after that of the pretrained one and three epochs on its features."""
    attempts = Attempts("extract_features", shards_folder, Path(), str(tmp_path / "kept"), tmp_path)
    attempts.run(f"{SAVE} {8 + 5 + 3 + 4}")
    last = attempts.run()
    assert re.findall(r"resuming after \w+ \w+", attempts.logs[1]) == [
        *("resuming after 8 batches", "resuming after 5 batches", "resuming after epoch 3", "resuming after 3 batches")
    ]
    assert attempts.epochs() == [(name, n) for name in ("feature extraction", "random weights") for n in (1, 2, 3)]
    whole = feature_extraction.model.parent
    check_same_model(last, whole)
    for name in ("train.npy", "validation.npy", "curve.json", "probe_scores.npy", RANDOM_PREDICTIONS):
        assert (last / "features" / name).read_bytes() == (whole / "features" / name).read_bytes(), name
    attempts.run_again(last)


def test_feature_extraction_on_all_layers_killed_resumes(shards_folder: Path, tmp_path: Path) -> None:
    """Fails if the standardization of the joined features depends on where the attempt resumed."""
    attempts = Attempts("joined_features", shards_folder, Path(), str(tmp_path / "kept"), tmp_path)
    attempts.run(f"{SAVE} {8 + 5 + 2}")
    last = attempts.run()
    assert attempts.epochs() == [("feature extraction", n) for n in (1, 2, 3)]
    whole = STAGES["joined_features"](shards_folder, Path(), NO_CHECKPOINTS, tmp_path / "whole").model.parent
    check_same_model(last, whole)


class Stopped(Exception):  # noqa: N818  not an error
    """The test stopped the training."""


def stop_at(step: int) -> Callable[..., float]:
    """Returns a replacement for `learning_rate` that stops every training before a step."""
    original = trainer.learning_rate

    def rate(recipe: Recipe, highest: float, current: int, *others: Any) -> float:
        if current >= step:
            raise Stopped
        return original(recipe, highest, current, *others)

    return rate


@pytest.fixture(scope="module")
def kept(shards_folder: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Checkpoints of an online fine-tuning that was stopped in epoch 3."""
    folder = tmp_path_factory.mktemp("stopped")
    checkpoints = Checkpoints(str(folder / "kept"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "learning_rate", stop_at(2 * STEPS))
        with pytest.raises(Stopped):
            run_fine_tune(FINE_TUNE, shards_folder, start, folder, checkpoints)
    return checkpoints


class TestResume:
    """A fine-tuning resumes only from checkpoints of the same settings, data and initial weights."""

    @pytest.fixture(autouse=True)
    def watch(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        monkeypatch.setattr(trainer, "learning_rate", stop_at(0))
        caplog.set_level(logging.INFO, "radiograft")

    @pytest.fixture
    def resumes(self, kept: Checkpoints, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Resumes:
        """Returns whether a fine-tuning resumes the stopped one."""

        def run(settings: FineTune, shards: Path, start: Path) -> bool:
            with pytest.raises(Stopped):
                run_fine_tune(settings, shards, start, tmp_path / "out", kept)
            return "fine tuning: resuming after epoch 2" in caplog.text

        return run

    def test_same_settings_and_data_resumes(self, resumes: Resumes, shards_folder: Path, start: Path) -> None:
        assert resumes(FINE_TUNE, shards_folder, start)

    @pytest.mark.parametrize(
        "changes",
        [
            {"train_fine_tune_learning_rate": 0.011},
            {"train_recipe": "poster"},
            {"train_fine_tune_epochs": EPOCHS + 1},
            {"train_augmentation": "cached"},
            {"model_cut_off": "third"},
        ],
        ids=lambda changes: str(*changes),
    )
    def test_changed_setting_starts_over(
        self, changes: dict[str, Any], resumes: Resumes, shards_folder: Path, start: Path
    ) -> None:
        assert not resumes(dataclasses.replace(FINE_TUNE, **changes), shards_folder, start)

    def test_changed_initial_weights_starts_over(self, resumes: Resumes, shards_folder: Path, tmp_path: Path) -> None:
        data = Shards.read(shards_folder)
        other = small_network(tmp_path / "start", data.image_size, data.labels, seed=1)
        assert not resumes(FINE_TUNE, shards_folder, other)

    def test_changed_data_starts_over(self, resumes: Resumes, shards_folder: Path, start: Path, tmp_path: Path) -> None:
        shutil.copytree(shards_folder, tmp_path / "shards")
        description = tmp_path / "shards" / "shards.json"
        description.write_text(json.dumps(json.loads(description.read_text()) | {"fingerprint": "another"}))
        assert not resumes(FINE_TUNE, tmp_path / "shards", start)
