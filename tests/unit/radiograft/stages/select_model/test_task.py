"""Of the candidates that fine-tuning wrote, the best is handed on whole, with the table of all."""

from __future__ import annotations

from pathlib import Path

import pytest

from radiograft.stages.select_model import task
from radiograft.training.search import results as search_results
from radiograft.training.search.results import Trial


def tried(folder: Path, cut_off: str, val_auroc: float, trainable_weights: int) -> Path:
    """A model's folder as fine_tune writes it for one cut-off."""
    (folder / "saved_model" / "variables").mkdir(parents=True)
    (folder / "saved_model" / "variables" / "variables.index").write_text(cut_off)
    (folder / "contract.json").write_text(f'{{"cut_off": "{cut_off}"}}')
    row = Trial(
        overrides={"model_cut_off": cut_off},
        trainable_weights=trainable_weights,
        epochs=3,
        best_epoch=2,
        metrics={"val_auroc": val_auroc, "val_loss": 0.5},
    )
    search_results.write_trials(folder, [row])
    return folder


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [
        tried(tmp_path / "0", "deepest", 0.7, 10),
        tried(tmp_path / "1", "middle", 0.9, 100),
        tried(tmp_path / "2", "shallowest", 0.8, 1000),
    ]


def test_the_best_model_is_handed_on_whole(models: list[Path], tmp_path: Path) -> None:
    task.select_model(models, tmp_path / "chosen")
    found = {
        path.relative_to(tmp_path / "chosen").as_posix(): path.read_text()
        for path in (tmp_path / "chosen").rglob("*")
        if path.is_file() and path.name != "search.json"
    }
    assert found == {"saved_model/variables/variables.index": "middle", "contract.json": '{"cut_off": "middle"}'}


def test_its_table_lists_every_candidate_from_the_input_on(models: list[Path], tmp_path: Path) -> None:
    task.select_model(models, tmp_path / "chosen")
    table = search_results.read_trials(tmp_path / "chosen")
    assert [row["overrides"]["model_cut_off"] for row in table] == ["shallowest", "middle", "deepest"]
    assert [row["metrics"]["val_auroc"] for row in table] == [0.8, 0.9, 0.7]
    assert [len(search_results.read_trials(model)) for model in models] == [1, 1, 1]


def test_candidates_that_tell_nothing_are_refused(models: list[Path], tmp_path: Path) -> None:
    (models[1] / "search.json").unlink()
    with pytest.raises(ValueError, match=r"there must be at least one model, with one trial each, got \[1, 0, 1\] trials"):
        task.select_model(models, tmp_path / "chosen")
    with pytest.raises(ValueError, match=r"got \[\]"):
        task.select_model([], tmp_path / "chosen")
    assert not (tmp_path / "chosen").exists()
