"""Selecting the best model of a search."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from radiograft.config import ExtractFeatures
from radiograft.models.spec import ModelSpec
from radiograft.registry.training_types import Trial
from radiograft.stages.select_model import task
from radiograft.training.search import comparison
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


def write_backbone(root: Path, backbone: str, val_auroc: float, scores: list[float]) -> comparison.BackboneTrial:
    """Writes the folders that both training stages write for one backbone of a comparison."""
    trial = comparison.BackboneTrial(root / backbone / "features", root / backbone / "start", root / backbone / "model")
    write_model(trial.model, f"{backbone}_conv", val_auroc, 10)
    ModelSpec(64, ("Mass",), backbone, "none", f"{backbone}_conv", "fine_tuning").write(trial.model)
    (trial.model / "logs" / "fine_tuning").mkdir(parents=True)
    (trial.model / "logs" / "fine_tuning" / "events").write_text(backbone)
    np.save(trial.model / "validation_scores.npy", np.array(scores, dtype="float32")[:, None])
    comparison.write_cost(trial.model, 20.04, 1000)
    trial.feature_model.mkdir()
    (trial.feature_model / "model.keras").write_text(backbone)
    comparison.write_cost(trial.feature_model, 10.0, 900)
    trial.features.mkdir()
    (trial.features / "curve.json").write_text(json.dumps([{"layer": "a", "channels": 8, "penalty": 1, "auroc": 0.6}]))
    (trial.features / "train.npy").write_text("large")
    return trial


def test_select_backbone_keeps_best_and_compares_all(tmp_path: Path) -> None:
    trials = [
        write_backbone(tmp_path, "alexnet", 0.7, [0.1, 0.2]),
        write_backbone(tmp_path, "vgg16", 0.9, [0.3, 0.4]),
    ]
    chosen = comparison.BackboneTrial(tmp_path / "features", tmp_path / "start", tmp_path / "model")
    task.select_backbone(trials, chosen)
    assert chosen.spec.backbone == "vgg16"
    assert sorted(path.name for path in chosen.features.iterdir()) == ["curve.json"]
    assert [path.name for path in chosen.feature_model.iterdir()] == ["model.keras"]
    assert (chosen.feature_model / "model.keras").read_text() == "vgg16"
    assert (chosen.model / "logs" / "fine_tuning" / "events").read_text() == "vgg16"
    assert (chosen.model / "logs" / "alexnet" / "fine_tuning" / "events").read_text() == "alexnet"
    assert not (chosen.model / "cost.json").exists()
    first, second = json.loads((chosen.model / "comparison.json").read_text())
    assert first == {
        "backbone": "vgg16",
        "trial": {
            "overrides": {"model_backbone": "vgg16", "model_cut_off": "vgg16_conv"},
            "trainable_weights": 10,
            "epochs": 3,
            "best_epoch": 2,
            "metrics": {"val_auroc": 0.9, "val_loss": 0.5},
        },
        "parameters": 1000,
        "bytes": len("vgg16_conv"),
        "seconds_features": 10.0,
        "seconds_fine_tuning": 20.0,
        "curve": [["a", 0.6]],
    }
    assert second["backbone"] == "alexnet"
    scores = np.load(chosen.model / "comparison_scores.npy")
    np.testing.assert_array_equal(scores[:, :, 0], np.array([[0.3, 0.4], [0.1, 0.2]], dtype="float32"))


@pytest.mark.parametrize(
    ("cut_off", "first", "second"),
    [
        ("auto", "auto", "auto"),
        ("block5_conv1", "block5_conv1", "conv5_block3_3_conv"),
        ("block5_conv1,block5_conv2", '"block5_conv1,block5_conv2"', "conv5_block3_3_conv"),
    ],
)
def test_list_backbones_gives_each_its_cut_off(cut_off: str, first: str, second: str) -> None:
    settings = ExtractFeatures(
        model_backbone="vgg16", model_cut_off=cut_off, compare_backbones="vgg16,resnet50", model_weights="none"
    )
    trials = task.list_backbones(settings)
    assert trials == [f"model_backbone=vgg16,model_cut_off={first}", f"model_backbone=resnet50,model_cut_off={second}"]
    assert [settings.with_overrides(trial).model_backbone for trial in trials] == ["vgg16", "resnet50"]
