"""The cut-off curve on features whose worth is known."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from radiograft.evaluation.cut_off_curve import read_curve
from radiograft.training.cut_off_curve import Point, choose_feature_layer, compute_curve, write_curve
from radiograft.training.feature_extraction import FeatureSet

LAYERS, WIDTHS = ["shallow", "middle", "deep"], [2, 3, 4]


@pytest.fixture(scope="module")
def curve() -> tuple[list[Point], np.ndarray, dict[str, np.ndarray]]:
    """The middle layer knows the first label; nothing knows the second; the third is all absent in validation."""
    random = np.random.default_rng(0)
    stored = {split: random.normal(size=(n, 9)).astype("float16") for split, n in (("train", 300), ("validation", 200))}
    truth = {
        split: np.stack([values[:, 2] > 0, random.random(len(values)) < 0.5, values[:, 0] > 9], axis=1).astype(
            "float32"
        )
        for split, values in stored.items()
    }
    truth["train"][:3, 2] = 1.0
    points, scores = compute_curve(FeatureSet(keras.Sequential(), LAYERS, WIDTHS, stored), truth)
    return points, scores, truth


def test_the_layer_that_knows_wins(curve: tuple[list[Point], np.ndarray, dict[str, np.ndarray]]) -> None:
    points, scores, _ = curve
    assert [(point["layer"], point["channels"]) for point in points] == list(zip(LAYERS, WIDTHS, strict=True))
    assert scores.shape == (3, 200, 3)
    assert points[1]["auroc"] > 0.7 > max(points[0]["auroc"], points[2]["auroc"])  # a mean with a label of chance


def test_the_feature_layer(curve: tuple[list[Point], np.ndarray, dict[str, np.ndarray]]) -> None:
    points = curve[0]
    found = [choose_feature_layer(wanted, points, LAYERS.__contains__) for wanted in ("auto", "last", "shallow")]
    assert found == ["middle", "deep", "shallow"]


@pytest.mark.parametrize(("wanted", "asked"), [("auto", LAYERS), ("last", []), ("shallow", [])])
def test_only_auto_asks_which_layers_are_usable(wanted: str, asked: list[str]) -> None:
    """Fails where each layer is asked about whatever is wanted: every answer takes a Keras model."""
    found: list[str] = []
    points = [Point(layer=layer, channels=1, penalty=0.1, auroc=0.7) for layer in LAYERS]
    choose_feature_layer(wanted, points, lambda layer: found.append(layer) is None)
    assert found == asked


def test_of_equal_layers_the_deepest_usable_one_is_taken_and_the_deepest_one_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails where `auto` looks at layers that are not usable, or the log names the first of equals."""
    points = [Point(layer=layer, channels=1, penalty=0.1, auroc=0.7) for layer in LAYERS]
    assert choose_feature_layer("auto", points, LAYERS[:2].__contains__) == "middle"
    with caplog.at_level("INFO"):
        write_curve(tmp_path, points, np.zeros((3, 1, 1)), tmp_path / "logs")
    assert "best of 3 layers is deep, validation AUROC 0.700" in caplog.text


def of_two_images_each(truth: dict[str, np.ndarray]) -> pd.DataFrame:
    """The validation rows of patients with two images each."""
    rows = pd.DataFrame(truth["validation"].astype("float64"), columns=["label:a", "label:b", "label:c"])
    return rows.assign(patient_id=[str(number // 2) for number in range(200)])


def test_intervals_stand_around_the_same_values(
    curve: tuple[list[Point], np.ndarray, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    points, scores, truth = curve
    write_curve(tmp_path, points, scores, tmp_path / "logs")
    rows = of_two_images_each(truth)
    found = read_curve(tmp_path, rows, ["a", "b", "c"], 200, 0)
    for point, estimated in zip(points, found, strict=True):
        auroc = estimated["auroc"]
        assert auroc["value"] == pytest.approx(point["auroc"])
        assert auroc["low"] is not None
        assert auroc["high"] is not None
        assert 0.01 < auroc["high"] - auroc["low"] < 0.2
        assert auroc["low"] < point["auroc"] < auroc["high"]


def test_unknown_truth_is_no_class(
    curve: tuple[list[Point], np.ndarray, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    """Fails where a label that is absent or unknown is ranked: its AUROC is NaN, and with it every layer's mean."""
    points, scores, truth = curve
    write_curve(tmp_path, points, scores, tmp_path / "logs")
    rows = of_two_images_each(truth)
    rows.loc[:50, "label:c"] = np.nan
    found = read_curve(tmp_path, rows, ["a", "b", "c"], 20, 0)
    assert [each["auroc"]["value"] for each in found] == pytest.approx([point["auroc"] for point in points])
