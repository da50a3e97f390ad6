"""The cut-off search in one task: each candidate fares as it would alone, the best is what is written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from radiograft.data.shards.dataset import Shards
from radiograft.models import artifact
from radiograft.models.spec import ModelSpec
from radiograft.training.search import results as search_results
from tests.helpers.stages import FINE_TUNE, Trained, run_fine_tune

CUT_OFFS = ("block6d_expand_conv", "block7a_expand_conv", "top_conv")


@pytest.fixture(scope="module")
def searched(shards_folder: Path, feature_extraction: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Fine-tuning from three cut-offs, on activations that are extended from one to the next."""
    settings = dataclasses.replace(
        FINE_TUNE, model_cut_off="top_conv,block6d_expand_conv,block7a_expand_conv", train_augmentation="cached"
    )
    return run_fine_tune(settings, shards_folder, feature_extraction.model, tmp_path_factory.mktemp("searched"))


def test_the_table_has_a_row_of_each_candidate(searched: Trained) -> None:
    table = search_results.read_trials(searched.model)
    assert [row["overrides"]["model_cut_off"] for row in table] == list(CUT_OFFS)
    weights = [row["trainable_weights"] for row in table]
    assert weights == sorted(weights, reverse=True)
    assert all(row["epochs"] == 2 and 0 <= row["best_epoch"] <= 2 for row in table)


def test_the_deepest_candidate_fares_as_it_does_alone(searched: Trained, fine_tuning: Trained) -> None:
    (alone,) = search_results.read_trials(fine_tuning.model)
    found = search_results.read_trials(searched.model)[-1]
    assert (found["overrides"]["model_cut_off"], found["trainable_weights"]) == ("top_conv", alone["trainable_weights"])
    assert found["metrics"]["val_loss"] == pytest.approx(
        alone["metrics"]["val_loss"], rel=0.02
    )  # its activations were rounded thrice
    assert found["metrics"]["val_auroc"] == pytest.approx(alone["metrics"]["val_auroc"], abs=0.05)


def test_the_best_candidate_is_what_is_written(searched: Trained, shards_folder: Path) -> None:
    chosen = search_results.best_trial(search_results.read_trials(searched.model))
    assert ModelSpec.read(searched.model).cut_off == chosen["overrides"]["model_cut_off"]
    history = json.loads((searched.model / "history.json").read_text())
    assert history["best_epoch"] == chosen["best_epoch"]
    data = Shards.read(shards_folder)
    images = np.concatenate(list(data.images("validation", 100)))
    truth = data.truth("validation")
    found = np.clip(np.asarray(artifact.load_model(searched.model)(images)), 1e-7, 1 - 1e-7)
    loss = -np.mean(truth * np.log(found) + (1 - truth) * np.log(1 - found))
    assert loss == pytest.approx(chosen["metrics"]["val_loss"], rel=0.02)


def test_what_no_candidate_trains_is_as_it_came(searched: Trained, feature_extraction: Trained) -> None:
    before, after = artifact.load_model(feature_extraction.model), artifact.load_model(searched.model)
    for layer in before.layers:
        if layer.name == CUT_OFFS[0]:
            break
        for mine, theirs in zip(after.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_tensorboard_shows_each_candidate(searched: Trained) -> None:
    folders = {path.relative_to(searched.logs).parts[:2] for path in searched.logs.rglob("*tfevents*")}
    assert folders == {("fine_tuning", cut_off) for cut_off in CUT_OFFS}
