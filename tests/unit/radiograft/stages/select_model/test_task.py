"""Selecting the best model of a search."""

from __future__ import annotations

from pathlib import Path

import pytest

from radiograft.registry.result_types import Trial
from radiograft.stages.select_model import task
from radiograft.training.search import results as search_results


def write_model(folder: Path, cut_off: str, val_auroc: float, trainable_weights: int) -> Path:
    """Writes the folder of a model, as fine_tune does for one cut-off."""
    (folder / "saved_model" / "variables").mkdir(parents=True)
    (folder / "saved_model" / "variables" / "variables.index").write_text(cut_off)
    (folder / "contract.json").write_text(f'{{"cut_off": "{cut_off}"}}')
    trial = Trial(
        overrides={"model_cut_off": cut_off},
        trainable_weights=trainable_weights,
        epochs=3,
        best_epoch=2,
        metrics={"val_auroc": val_auroc, "val_loss": 0.5},
    )
    search_results.write_trials(folder, [trial])
    return folder


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [
        write_model(tmp_path / "0", "deepest", 0.7, 10),
        write_model(tmp_path / "1", "middle", 0.9, 100),
        write_model(tmp_path / "2", "shallowest", 0.8, 1000),
    ]


def test_select_model_copies_all_files_of_best_model(models: list[Path], tmp_path: Path) -> None:
    task.select_model(models, tmp_path / "chosen")
    copied = {
        path.relative_to(tmp_path / "chosen").as_posix(): path.read_text()
        for path in (tmp_path / "chosen").rglob("*")
        if path.is_file() and path.name != "search.json"
    }
    assert copied == {"saved_model/variables/variables.index": "middle", "contract.json": '{"cut_off": "middle"}'}


def test_select_model_writes_all_trials_from_input_to_output(models: list[Path], tmp_path: Path) -> None:
    task.select_model(models, tmp_path / "chosen")
    trials = search_results.read_trials(tmp_path / "chosen")
    assert [trial["overrides"]["model_cut_off"] for trial in trials] == ["shallowest", "middle", "deepest"]
    assert [trial["metrics"]["val_auroc"] for trial in trials] == [0.8, 0.9, 0.7]
    assert [len(search_results.read_trials(model)) for model in models] == [1, 1, 1]


def test_select_model_without_one_trial_per_model_raises(models: list[Path], tmp_path: Path) -> None:
    (models[1] / "search.json").unlink()
    with pytest.raises(
        ValueError, match=r"there must be at least one model, with one trial each, got \[1, 0, 1\] trials"
    ):
        task.select_model(models, tmp_path / "chosen")
    with pytest.raises(ValueError, match=r"got \[\]"):
        task.select_model([], tmp_path / "chosen")
    assert not (tmp_path / "chosen").exists()
