"""Averaging the weights of the best epochs: never worse on validation than the best epoch, and the same if resumed."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from radiograft.config.training import Recipe
from radiograft.models import variables
from radiograft.training import trainer
from radiograft.training.history import History
from radiograft.training.tasks.base import LOSS
from radiograft.training.tasks.multilabel import validation_metrics
from tests.unit.radiograft.training.test_resume import STEPS, Run, check_equal, features, stop_at

RECIPE = Recipe(loss_weights="none")


def run(folder: Path, **changes: object) -> Run:
    """A training whose loss jumps between epochs, so that averaging helps."""
    options: dict[str, object] = {"learning_rate": 0.15, "monitor": LOSS, "epochs": 8}
    return Run(folder, "adam", RECIPE, **options | changes)


def by_loss(history: History) -> list[int]:
    losses = [row["val_loss"] for row in [history.initial, *history.epochs]]
    return sorted(range(len(losses)), key=lambda epoch: losses[epoch])


def test_train_with_members_keeps_mean_of_best_epochs(tmp_path: Path) -> None:
    model, history = run(tmp_path / "four", members=4).attempt()
    single, alone = run(tmp_path / "one").attempt()
    assert history.epochs == alone.epochs
    assert len(history.averaged_epochs) >= 2
    assert history.averaged_epochs == by_loss(history)[: len(history.averaged_epochs)]
    assert history.best["val_loss"] < alone.best["val_loss"]
    held_out = features(24, 2)
    measured = validation_metrics(held_out.truth, np.asarray(model(held_out.parts[0][0], training=False)))
    assert measured["val_loss"] == pytest.approx(history.best["val_loss"], abs=1e-6)
    assert any((one != other).any() for one, other in zip(model.get_weights(), single.get_weights(), strict=True))


def test_train_with_members_that_do_not_help_keeps_best_epoch(tmp_path: Path) -> None:
    """The state before training is among the members, and its weights make every mean worse."""
    model, history = run(tmp_path / "two", members=2, epochs=1, learning_rate=0.02).attempt()
    single, alone = run(tmp_path / "one", epochs=1, learning_rate=0.02).attempt()
    assert history == alone
    assert "averaged_epochs" not in history.to_json()
    for weight, other in zip(model.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_train_with_distillation_that_validates_better_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result of distillation is replaced by weights that are known to be better; see test_distillation.py."""
    better, known = run(tmp_path / "better").attempt()
    found = [weight.numpy() for weight in better.trainable_variables]

    def assign(network: keras.Model, *_: object) -> None:
        variables.write_variables(network.trainable_variables, found)

    monkeypatch.setattr(trainer, "distill", assign)
    model, history = run(tmp_path / "distilled", members=2, epochs=2, distillation_epochs=1).attempt()
    assert (history.distilled_epochs, history.averaged_epochs) == (by_loss(history)[:2], [])
    assert history.best == pytest.approx(known.best)
    assert history.to_json()["distilled_epochs"] == history.distilled_epochs
    for weight, other in zip(model.get_weights(), better.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_train_with_distillation_that_does_not_help_changes_nothing(tmp_path: Path) -> None:
    options: dict[str, object] = {"members": 2, "epochs": 1, "learning_rate": 0.02}
    single, alone = run(tmp_path / "one", **options).attempt()
    model, history = run(tmp_path / "two", **options, distillation_epochs=1).attempt()
    assert history == alone
    for weight, other in zip(model.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_train_with_distillation_stopped_resumes_with_same_result(tmp_path: Path) -> None:
    options: dict[str, object] = {"members": 3, "distillation_epochs": 2, "epochs": 3}
    whole = run(tmp_path / "whole", **options).attempt()
    stopped = run(tmp_path / "stopped", **options)
    stop_at(stopped, 3 * STEPS - 1)
    check_equal(stopped.attempt(), whole)
    check_equal(stopped.attempt(), whole)


@pytest.mark.parametrize("step", [STEPS + 1, 5 * STEPS, 8 * STEPS - 1])
def test_train_with_members_stopped_resumes_with_same_mean(step: int, tmp_path: Path) -> None:
    """Fails if a checkpoint lacks the weights of one of the best epochs."""
    whole = run(tmp_path / "whole", members=4).attempt()
    stopped = run(tmp_path / "stopped", members=4)
    stop_at(stopped, step)
    resumed = stopped.attempt()
    check_equal(resumed, whole)
    finished = stopped.attempt()
    check_equal(finished, whole)
