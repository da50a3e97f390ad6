"""The cut-off curve of features with known information."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from radiograft.evaluation.probe_curves import read_curve
from radiograft.training.cut_off_curve import Point, choose_feature_layers, compute_curve, write_curve
from radiograft.training.feature_extraction import FeatureSet
from tests.helpers.feature_columns import side_by_side

LAYERS, WIDTHS = ["shallow", "middle", "deep"], [2, 3, 4]


@pytest.fixture(scope="module")
def curve() -> tuple[list[Point], np.ndarray, dict[str, np.ndarray]]:
    """The middle layer predicts the first label, no layer the second; validation has no image with the third."""
    random = np.random.default_rng(0)
    stored = {split: random.normal(size=(n, 9)).astype("float16") for split, n in (("train", 300), ("validation", 200))}
    truth = {
        split: np.stack([values[:, 2] > 0, random.random(len(values)) < 0.5, values[:, 0] > 9], axis=1).astype(
            "float32"
        )
        for split, values in stored.items()
    }
    truth["train"][:3, 2] = 1.0
    points, scores = compute_curve(FeatureSet(keras.Sequential(), side_by_side(LAYERS, WIDTHS), stored), truth)
    return points, scores, truth


def test_compute_curve_informative_layer_has_highest_auroc(
    curve: tuple[list[Point], np.ndarray, dict[str, np.ndarray]],
) -> None:
    points, scores, _ = curve
    assert [(point["layer"], point["channels"]) for point in points] == list(zip(LAYERS, WIDTHS, strict=True))
    assert scores.shape == (3, 200, 3)
    assert (
        points[1]["auroc"] > 0.7 > max(points[0]["auroc"], points[2]["auroc"])
    )  # the mean with a label that cannot be predicted


def test_choose_feature_layers_follows_setting(curve: tuple[list[Point], np.ndarray, dict[str, np.ndarray]]) -> None:
    points = curve[0]
    settings = ("auto", "last", "shallow", "all", "deep, shallow")
    layers = [choose_feature_layers(setting, points, LAYERS.__contains__) for setting in settings]
    assert layers == [["middle"], ["deep"], ["shallow"], LAYERS, ["shallow", "deep"]]


@pytest.mark.parametrize(("setting", "checked"), [("auto", LAYERS), ("last", []), ("shallow", []), ("all", [])])
def test_choose_feature_layers_checks_usability_for_auto_only(setting: str, checked: list[str]) -> None:
    """Fails if layers are always checked: each check builds a Keras model."""
    calls: list[str] = []
    points = [Point(layer=layer, channels=1, penalty=0.1, auroc=0.7) for layer in LAYERS]
    choose_feature_layers(setting, points, lambda layer: calls.append(layer) is None)
    assert calls == checked


def test_choose_feature_layers_of_equal_layers_is_deepest_usable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails if `auto` selects an unusable layer, or the log names the first of equal layers."""
    points = [Point(layer=layer, channels=1, penalty=0.1, auroc=0.7) for layer in LAYERS]
    assert choose_feature_layers("auto", points, LAYERS[:2].__contains__) == ["middle"]
    with caplog.at_level("INFO"):
        write_curve(tmp_path, points, np.zeros((3, 1, 1)), tmp_path / "logs")
    assert "best of 3 layers is deep, validation AUROC 0.700" in caplog.text


def validation_rows(truth: dict[str, np.ndarray]) -> pd.DataFrame:
    """Returns the validation rows; every patient has two images."""
    rows = pd.DataFrame(truth["validation"].astype("float64"), columns=["label:a", "label:b", "label:c"])
    return rows.assign(patient_id=[str(number // 2) for number in range(200)])


def test_read_curve_intervals_contain_values_of_curve(
    curve: tuple[list[Point], np.ndarray, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    points, scores, truth = curve
    write_curve(tmp_path, points, scores, tmp_path / "logs")
    rows = validation_rows(truth)
    estimates = read_curve(tmp_path, rows, ["a", "b", "c"], 200, 0)
    for point, estimate in zip(points, estimates, strict=True):
        auroc = estimate["auroc"]
        assert auroc["value"] == pytest.approx(point["auroc"])
        assert auroc["low"] is not None
        assert auroc["high"] is not None
        assert 0.01 < auroc["high"] - auroc["low"] < 0.2
        assert auroc["low"] < point["auroc"] < auroc["high"]


def test_read_curve_ignores_label_without_both_classes(
    curve: tuple[list[Point], np.ndarray, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    """Fails if a label without both classes is included: its AUROC is NaN, and so is the mean of every layer."""
    points, scores, truth = curve
    write_curve(tmp_path, points, scores, tmp_path / "logs")
    rows = validation_rows(truth)
    rows.loc[:50, "label:c"] = np.nan
    estimates = read_curve(tmp_path, rows, ["a", "b", "c"], 20, 0)
    assert [layer["auroc"]["value"] for layer in estimates] == pytest.approx([point["auroc"] for point in points])
