"""Boxes as targets at the positions of a class map, and the patients who move to training for it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config.training import Recipe
from radiograft.data.splits import move_boxed_patients
from radiograft.models import artifact
from radiograft.models.graph import input_of
from radiograft.training.box_targets import box_targets
from radiograft.training.tasks.boxes import BoxTask
from radiograft.training.tasks.multilabel import MultilabelTask
from tests.helpers.minimal_run import EXTRACT_FEATURES, replace_backbone
from tests.helpers.squares import SIZE, SQUARE, shards
from tests.helpers.stages import run_extract_features

NAN = float("nan")
PLACES = [(0, 0), (24, 24), (0, 24), (24, 0), (8, 16), (16, 8), (8, 8), (16, 16)]


def around(place: tuple[int, int]) -> list[float]:
    return [place[0] / SIZE, place[1] / SIZE, SQUARE / SIZE, SQUARE / SIZE]


def test_box_targets_marks_positions_that_a_box_touches(tmp_path: Path) -> None:
    boxes = {"train-0.png": ("Bright", around((8, 16))), "train-2.png": ("Another finding", around((0, 0)))}
    data = shards(tmp_path, {"train": [(8, 16), (0, 0), (0, 0)]}, boxes=boxes)
    targets = box_targets(data, "train", 4, 4).reshape(3, 4, 4, 2)
    expected = np.zeros((4, 4))
    expected[2, 1] = 1  # the square of 8 px at (8, 16) is one cell of 8 px
    np.testing.assert_array_equal(targets[0, ..., 0], expected)
    assert np.isnan(targets[0, ..., 1]).all()
    assert np.isnan(targets[1:]).all()
    finer = box_targets(data, "train", 3, 3).reshape(3, 3, 3, 2)[0, ..., 0]
    np.testing.assert_array_equal(finer, [[0, 0, 0], [1, 1, 0], [1, 1, 0]])  # 1/4 to 1/2 and 1/2 to 3/4 of the side


def test_box_loss_adds_weighted_mean_over_positions_with_target() -> None:
    """The label costs log 2; the positions have probabilities 3/4 and 1/4 and the targets 1 and 0."""
    task = BoxTask(MultilabelTask(), labels=1, weight=2.0)
    truth = np.array([[1.0, 1.0, 0.0, NAN], [1.0, NAN, NAN, NAN]], "float32")
    outputs = np.array([[0.5, math.log(3), -math.log(3), 9.0], [0.5, 9.0, 9.0, 9.0]], "float32")
    loss = task.loss(truth, Recipe())
    at_positions = 2.0 * -math.log(0.75)
    np.testing.assert_allclose(loss.call(truth, outputs), [math.log(2) + at_positions, math.log(2)], rtol=1e-5)
    largest = np.asarray(loss.worst(truth, outputs))
    np.testing.assert_allclose(largest, [-3 * math.log(1e-7), -math.log(1e-7)], rtol=1e-3)
    wrong = np.array([[0.0, -99.0, 99.0, 0.0], [0.0] * 4], "float32")
    assert (np.asarray(loss.call(truth, wrong)) <= largest * 1.001).all()


def test_box_task_evaluates_labels_alone() -> None:
    task = BoxTask(MultilabelTask(), labels=1, weight=2.0)
    truth = np.array([[1.0, NAN], [0.0, 1.0]], "float32")
    outputs = np.array([[0.75, 5.0], [0.25, -5.0]], "float32")
    assert task.evaluate(truth, outputs) == MultilabelTask().evaluate(truth[:, :1], outputs[:, :1])
    (accuracy,) = task.metrics()
    accuracy.update_state(truth, outputs)
    assert (accuracy.name, float(accuracy.result())) == ("accuracy", 1.0)


@given(st.floats(0, 0.9), st.integers(0, 99), st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1))
@settings(deadline=None)
def test_move_boxed_patients_moves_whole_patients_with_boxes_only(
    fraction: float, seed: int, images: list[tuple[int, bool]]
) -> None:
    rows = pd.DataFrame(images, columns=["patient", "boxed"])
    patients = rows["patient"].astype(str).astype("string")
    before = patients.map(lambda patient: ("train", "validation", "test", "test")[int(patient) % 4]).astype("string")
    after = move_boxed_patients(before, patients, rows["boxed"], fraction=fraction, seed=seed)
    assert after.groupby(patients).nunique().eq(1).all()
    with_box = set(patients[rows["boxed"]])
    assert all(patient in with_box for patient in patients[after.ne(before)])
    assert set(before[after.ne(before)]) <= {"test"}
    assert set(after[after.ne(before)]) <= {"train"}
    if not fraction:
        assert after.equals(before)


def test_feature_extraction_with_boxes_finds_the_squares_of_which_it_saw_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All images have a square, so that labels alone say nothing about its place."""
    replace_backbone(monkeypatch)
    boxes = {f"train-{number}.png": ("Bright", around(place)) for number, place in enumerate(PLACES)}
    places = {"train": PLACES, "validation": PLACES[:4]}
    data = shards(tmp_path / "shards", places, {"train": [1.0] * 8, "validation": [1.0, 0.0] * 2}, boxes)
    (tmp_path / "shards" / "settings.json").write_text("{}")
    settings = dataclasses.replace(
        EXTRACT_FEATURES,
        model_pooling="noisy_or",
        train_box_weight=20.0,
        train_batch_size=8,
        train_feature_epochs=60,
        train_feature_learning_rate=0.05,
        train_patience=60,
        model_dropout=0.0,
    )
    stage = run_extract_features(settings, data.folder, tmp_path / "out")
    model = artifact.load_model(stage.model)
    assert model.output_shape == (None, 2)  # the positions are outputs in training only
    images = next(data.images("train", 8).as_numpy_iterator())
    maps = keras.Model(model.input, input_of(model, "class_map_pooled"))(images).numpy()[..., 0]
    inside = box_targets(data, "train", *maps.shape[1:]).reshape(8, *maps.shape[1:], 2)[..., 0] == 1
    assert maps[inside].mean() > maps[~inside].mean() + 0.5


def test_feature_extraction_without_boxed_training_images_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_backbone(monkeypatch)
    data = shards(tmp_path / "shards", {"train": PLACES, "validation": PLACES[:4]}, {"validation": [1.0, 0.0] * 2})
    settings = dataclasses.replace(EXTRACT_FEATURES, model_pooling="lse", train_box_weight=1.0)
    with pytest.raises(ValueError, match="train_box_weight needs training images with boxes of the labels"):
        run_extract_features(settings, data.folder, tmp_path / "out")
