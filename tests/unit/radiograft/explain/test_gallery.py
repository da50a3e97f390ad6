"""Images of the report: selection of predictions, and figures that match their captions."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import blend
from radiograft.explain.gallery import SIDE, LabelFigures, classify_predictions, draw_gallery, labels_to_show
from tests.helpers.squares import brightness, image, shards

POSITIONS = [(4 * number % 24, 8 * (number // 6)) for number in range(16)]
TRUTH = [1.0] * 8 + [0.0] * 7 + [float("nan")]
SCORES = [0.9, 0.8, 0.95, 0.7, 0.4, 0.1, 0.3, 0.2, 0.6, 0.99, 0.05, 0.5, 0.01, 0.51, 0.52, 0.97]
BOX = [0.0, 0.0, 0.25, 0.25]
OUTCOMES = ["true positives", "false positives", "false negatives", "true negatives"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return shards(
        tmp_path_factory.mktemp("shards"),
        {"test": POSITIONS},
        {"test": TRUTH},
        {"test-2.png": ("Bright", BOX), "test-0.png": ("Dark", BOX)},
    )


def predictions(data: Shards) -> pd.DataFrame:
    """Rows of a longer table, as in evaluation, so their index does not start at 0."""
    frame = data.split("test").assign(**{"score:Bright": SCORES, "score:Dark": 0.1})
    return frame.set_axis(range(100, 100 + len(frame)))


@pytest.fixture(scope="module")
def figures(data: Shards) -> LabelFigures:
    (figures,) = draw_gallery(data, "test", predictions(data), {"Bright": np.array(SCORES) >= 0.5}, brightness())
    return figures


def test_classify_predictions_sorts_by_confidence_and_omits_unknown_truth(data: Shards) -> None:
    calls = classify_predictions(predictions(data), "Bright", np.array(SCORES) >= 0.5)
    assert {outcome: [call.position for call in part] for outcome, part in calls.items()} == {
        "true positives": [2, 0, 1, 3],
        "false positives": [9, 8, 14, 13, 11],  # a score at the threshold is positive
        "false negatives": [5, 7, 6, 4],
        "true negatives": [12, 10],
    }
    assert calls["false positives"][0] == (9, "test-9.png", 0.99)


def test_labels_to_show_takes_most_positives() -> None:
    names = ["few", "none", "many", "some", "not decided"]
    frame = pd.DataFrame(
        {f"label:{name}": [1.0] * n + [0.0] * (9 - n) for name, n in zip(names, (2, 0, 8, 5, 9), strict=True)}
    )
    assert labels_to_show(frame, names[:4]) == ["many", "some", "few"]
    unknown = frame.assign(**{"label:many": float("nan")})
    assert labels_to_show(unknown, names[:4]) == ["some", "few", "none"]


def test_draw_gallery_shows_worst_errors_and_examples_of_every_outcome(figures: LabelFigures) -> None:
    assert figures.label == "Bright"
    worst = {outcome: [figure.call.position for figure in part] for outcome, part in figures.worst.items()}
    assert worst == {"false positives": [9, 8, 14, 13, 11], "false negatives": [5, 7, 6, 4]}
    looks = {outcome: [figure.call.position for figure in part] for outcome, part in figures.heat_maps.items()}
    assert list(looks) == OUTCOMES
    assert looks["true positives"] == [2, 0, 1, 3]
    assert looks["false positives"] == [9, 8, 14, 13]


def test_draw_gallery_figure_matches_image_id(figures: LabelFigures) -> None:
    for part in figures.worst.values():
        for figure in part:
            assert figure.call.image_id == f"test-{figure.call.position}.png"
            expected = blend(image(POSITIONS[figure.call.position]), None, side=SIDE)
            np.testing.assert_array_equal(figure.pixels, expected)
            assert figure.call.image_id in figure.alt


def test_draw_gallery_strip_has_image_both_maps_and_boxes(figures: LabelFigures) -> None:
    boxed, bare = figures.heat_maps["true positives"][:2]
    for figure, boxes in ((boxed, [BOX]), (bare, [])):  # the box of the second image belongs to another label
        assert figure.pixels.shape == (SIDE, 3 * SIDE + 8, 3)
        expected = blend(image(POSITIONS[figure.call.position]), None, boxes, SIDE)
        np.testing.assert_array_equal(figure.pixels[:, :SIDE], expected)
    (heat,) = brightness().grad_cam(image(POSITIONS[0])[None], 0)
    grad_cam = blend(image(POSITIONS[0]), heat, [], SIDE)
    np.testing.assert_array_equal(bare.pixels[:, SIDE + 4 : 2 * SIDE + 4], grad_cam)
    np.testing.assert_array_equal(bare.pixels[:, 2 * SIDE + 8 :], grad_cam)  # with one layer both maps are equal


def test_figure_jpeg_is_small(figures: LabelFigures) -> None:
    for figure in [*figures.worst["false positives"], *figures.heat_maps["true positives"]]:
        assert len(figure.jpeg) < 30_000
        with Image.open(io.BytesIO(figure.jpeg)) as jpeg:
            assert (jpeg.format, jpeg.size) == ("JPEG", (figure.pixels.shape[1], SIDE))
            assert np.abs(np.asarray(jpeg, dtype="int16") - figure.pixels).mean() < 4


def test_label_figures_names_contain_no_image_id(figures: LabelFigures) -> None:
    """Fails if a name contains the image id, which TensorBoard would show: an id may identify the patient."""
    names = [name for name, _ in figures.images()]
    groups = {f"worst calls/Bright/{outcome}" for outcome in ("false positives", "false negatives")}
    groups |= {f"heat maps/Bright/{outcome}" for outcome in OUTCOMES}
    assert set(names) == groups
    assert len(names) == (5 + 4) + (4 + 4 + 4 + 2)
    assert len(list(itertools.groupby(names))) == len(groups)  # groups are contiguous
    assert all(pixels.dtype == np.uint8 for _, pixels in figures.images())
