"""The cut-off search in one task: each trial matches a separate fine-tuning, and the best is saved."""

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
def search(shards_folder: Path, feature_extraction: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Fine-tuning from three cut-offs, with activations that are extended from one to the next."""
    settings = dataclasses.replace(
        FINE_TUNE, model_cut_off="top_conv,block6d_expand_conv,block7a_expand_conv", train_augmentation="cached"
    )
    return run_fine_tune(settings, shards_folder, feature_extraction.model, tmp_path_factory.mktemp("searched"))


def test_search_writes_one_trial_per_cut_off(search: Trained) -> None:
    trials = search_results.read_trials(search.model)
    assert [trial["overrides"]["model_cut_off"] for trial in trials] == list(CUT_OFFS)
    weights = [trial["trainable_weights"] for trial in trials]
    assert weights == sorted(weights, reverse=True)
    assert all(trial["epochs"] == 2 and 0 <= trial["best_epoch"] <= 2 for trial in trials)


def test_search_deepest_trial_matches_single_fine_tuning(search: Trained, fine_tuning: Trained) -> None:
    (separate,) = search_results.read_trials(fine_tuning.model)
    deepest = search_results.read_trials(search.model)[-1]
    assert (deepest["overrides"]["model_cut_off"], deepest["trainable_weights"]) == (
        "top_conv",
        separate["trainable_weights"],
    )
    # Its activations were rounded three times.
    assert deepest["metrics"]["val_loss"] == pytest.approx(separate["metrics"]["val_loss"], rel=0.02)
    assert deepest["metrics"]["val_auroc"] == pytest.approx(separate["metrics"]["val_auroc"], abs=0.05)


def test_search_saves_best_trial(search: Trained, shards_folder: Path) -> None:
    best = search_results.best_trial(search_results.read_trials(search.model))
    assert ModelSpec.read(search.model).cut_off == best["overrides"]["model_cut_off"]
    history = json.loads((search.model / "history.json").read_text())
    assert history["best_epoch"] == best["best_epoch"]
    data = Shards.read(shards_folder)
    images = np.concatenate(list(data.images("validation", 100)))
    truth = data.truth("validation")
    scores = np.clip(np.asarray(artifact.load_model(search.model)(images)), 1e-7, 1 - 1e-7)
    loss = -np.mean(truth * np.log(scores) + (1 - truth) * np.log(1 - scores))
    assert loss == pytest.approx(best["metrics"]["val_loss"], rel=0.02)


def test_search_leaves_frozen_layers_unchanged(search: Trained, feature_extraction: Trained) -> None:
    before, after = artifact.load_model(feature_extraction.model), artifact.load_model(search.model)
    for layer in before.layers:
        if layer.name == CUT_OFFS[0]:
            break
        for actual, expected in zip(after.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_search_logs_each_trial_to_tensorboard(search: Trained) -> None:
    folders = {path.relative_to(search.logs).parts[:2] for path in search.logs.rglob("*tfevents*")}
    assert folders == {("fine_tuning", cut_off) for cut_off in CUT_OFFS}
