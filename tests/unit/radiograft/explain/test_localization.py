"""Localization accuracy: boxes of hot regions, both overlap measures, and the controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.explain.localization import heat_boxes, localize, overlaps, pointing_score
from radiograft.registry.analysis_types import Localization
from tests.helpers.squares import SIZE, SQUARE, brightness, shards

# Squares at multiples of four cover two cells in each direction; none is at the center.
PLACES = [(0, 0), (24, 24), (0, 24), (24, 0), (4, 20), (20, 4)]
EIGHTH = [1 / 8, 1 / 8, 1 / 4, 1 / 4]


@pytest.fixture(scope="module")
def maps() -> Any:
    return brightness()


def around(place: tuple[int, int]) -> list[float]:
    return [place[0] / SIZE, place[1] / SIZE, SQUARE / SIZE, SQUARE / SIZE]


def test_heat_boxes_region_gets_box_at_each_threshold() -> None:
    heat = np.zeros((10, 10), dtype="float32")
    heat[1:3, 2:6] = 0.3  # above 60 / 255 only
    heat[2, 3] = 0.8  # above 180 / 255 too
    heat[8, 0] = 1.0
    heat[5, 5] = 0.2  # below both
    np.testing.assert_allclose(
        heat_boxes(heat), [[0.0, 0.8, 0.1, 0.1], [0.2, 0.1, 0.4, 0.2], [0.3, 0.2, 0.1, 0.1]], atol=1e-12
    )


def test_heat_boxes_without_heat_is_empty() -> None:
    assert heat_boxes(np.zeros((4, 4), dtype="float32")).shape == (0, 4)
    assert overlaps(np.zeros((0, 4)), np.array([EIGHTH])).shape == (2, 0, 1)


def test_overlaps_worked_example() -> None:
    predicted = np.array([[0.0, 0.0, 0.4, 0.4], [0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]])
    annotated = np.array([[0.2, 0.2, 0.4, 0.4], [0.2, 0.2, 0.2, 0.2]])
    iou, iobb = overlaps(predicted, annotated)
    np.testing.assert_allclose(iou, [[0.04 / 0.28, 0.04 / 0.16], [0.04 / 0.16, 1], [0, 0]])
    np.testing.assert_allclose(iobb, [[0.25, 0.25], [1, 1], [0, 0]])


@pytest.mark.parametrize(
    ("hot", "score"),
    [
        ([(1, 1)], 1.0),  # the pixel from (1/8, 1/8) to (2/8, 2/8), in the box from 1/8 to 3/8
        ([(3, 1)], 0.0),  # just below it
        ([(1, 1), (2, 2), (0, 0), (7, 7)], 0.5),  # half of the hottest pixels
        ([], 0.0),
    ],
)
def test_pointing_score_is_fraction_of_hottest_pixels_in_box(hot: list[tuple[int, int]], score: float) -> None:
    heat = np.zeros((8, 8), dtype="float32")
    for row, column in hot:
        heat[row, column] = 1.0
    assert pointing_score(heat, np.array([EIGHTH, [0.9, 0.0, 0.1, 0.1]])) == score


def test_localize_scores_pointing_game_of_each_map(tmp_path: Path, maps: Any) -> None:
    found = localized(tmp_path, maps)
    assert found is not None
    pointing = found["labels"]["Bright"]["pointing"]
    assert list(pointing) == ["grad_cam", "layer_cam", "centre", "random"]
    assert (pointing["grad_cam"]["value"], pointing["centre"]["value"]) == (1.0, 0.0)
    assert pointing["grad_cam"]["low"] == pytest.approx(0.025 ** (1 / 3))  # Clopper-Pearson, three patients
    assert pointing["random"]["value"] < 0.5


fractions = st.tuples(*[st.floats(0.01, 1.0)] * 4)


@given(fractions, fractions)
def test_overlaps_iou_is_symmetric_and_at_most_iobb(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    (iou, iobb), (mirrored, covered) = (
        overlaps(np.array([a]), np.array([b]))[:, 0, 0] for a, b in ((one, other), (other, one))
    )
    assert 0 <= iou <= min(iobb, covered) + 1e-12
    assert iobb <= 1 + 1e-12
    assert iou == pytest.approx(mirrored)


def localized(folder: Path, maps: Any, split: str = "test", finding: str = "Bright") -> Localization | None:
    boxes = {f"{split}-{number}.png": (finding, around(place)) for number, place in enumerate(PLACES)}
    data = shards(folder, {"train": [(0, 0)], "validation": PLACES, "test": [*PLACES, (12, 12)]}, boxes=boxes)
    return localize(data, maps, samples=100, seed=0)


def test_localize_square_detector_outperforms_controls(tmp_path: Path, maps: Any) -> None:
    found = localized(tmp_path, maps)
    assert found is not None
    assert (found["split"], found["overlaps"]) == ("test", [0.1, 0.25, 0.5])
    assert found["heat_thresholds"] == pytest.approx([0.235, 0.706], abs=1e-3)
    assert list(found["labels"]) == ["Bright"]
    bright = found["labels"]["Bright"]
    assert (bright["n_images"], bright["n_boxes"], bright["n_patients"]) == (6, 6, 3)
    assert list(bright["maps"]) == ["grad_cam", "layer_cam", "centre", "random"]
    for name in ("grad_cam", "layer_cam"):
        for measure in ("iou", "iobb"):
            scores = bright["maps"][name][measure]
            assert [score["overlap"] for score in scores] == [0.1, 0.25, 0.5]
            exact = {"value": 1.0, "low": pytest.approx(0.025 ** (1 / 3)), "high": 1.0, "method": "Clopper-Pearson"}
            assert [score["accuracy"] for score in scores] == [exact] * 3
            none_of_three = {"value": 0.0, "low": 0.0, "high": pytest.approx(3.689 / 3, abs=1e-3), "method": "Garwood"}
            assert scores[0]["false_positives"] == none_of_three
    for name in ("centre", "random"):
        quarter = bright["maps"][name]["iou"][1]
        assert quarter["accuracy"]["value"] < 0.35
        assert quarter["false_positives"]["value"] > 0.9


def test_localize_central_box_is_found_by_center_control(tmp_path: Path, maps: Any) -> None:
    boxes = {"test-0.png": ("Bright", [0.25, 0.25, 0.5, 0.5])}
    found = localize(shards(tmp_path, {"test": [(0, 0)]}, boxes=boxes), maps, 100, 0)
    assert found is not None
    scores = found["labels"]["Bright"]["maps"]
    assert scores["centre"]["iou"][2]["accuracy"] == {"value": 1.0, "low": None, "high": None}  # a single patient
    assert scores["grad_cam"]["iou"][2]["accuracy"]["value"] == 0.0
    assert scores["grad_cam"]["iou"][2]["false_positives"]["value"] >= 1.0


def test_localize_label_without_evidence_has_no_predicted_boxes(tmp_path: Path, maps: Any) -> None:
    found = localized(tmp_path, maps, finding="Dark")
    assert found is not None
    for score in found["labels"]["Dark"]["maps"]["grad_cam"]["iou"]:
        assert (score["accuracy"]["value"], score["false_positives"]["value"]) == (0.0, 0.0)


def test_localize_falls_back_to_validation_and_to_none(tmp_path: Path, maps: Any) -> None:
    on_validation = localized(tmp_path / "validation", maps, split="validation")
    assert on_validation is not None
    assert on_validation["split"] == "validation"
    assert localized(tmp_path / "train", maps, split="train") is None
    assert localized(tmp_path / "unknown", maps, finding="Another finding") is None


def test_localize_same_seed_gives_same_scores(tmp_path: Path, maps: Any) -> None:
    assert localized(tmp_path / "once", maps) == localized(tmp_path / "again", maps)
