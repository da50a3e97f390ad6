"""Whether labels are exclusive classes is decided from the images, and a wrong request is refused with the counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.data.tasks import TaskChoice, exclude_other_classes, exclusive_pair_notes, resolve_task
from radiograft.utils.errors import SensitiveValueError

NAN = float("nan")


def frame(*rows: list[float], names: str = "abc") -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(names), dtype="float64")


EXCLUSIVE = frame([1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0])


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        (EXCLUSIVE, TaskChoice("multiclass", "every image has exactly one of the 3 labels")),
        (frame([1, 0], [0, 1], names="ab"), TaskChoice("multiclass", "every image has exactly one of the 2 labels")),
        (frame([1], [0], names="a"), TaskChoice("binary", "a is the only label")),
        (
            frame([1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]),
            TaskChoice("multilabel", "there are images with several of the labels: 1, with none of the labels: 2"),
        ),
        (
            frame([1, 0, 0], [0, 1, NAN]),
            TaskChoice("multilabel", "there are images with partly unknown labels: 1"),
        ),
    ],
)
def test_resolve_task_auto_follows_labels_of_images(truth: pd.DataFrame, expected: TaskChoice) -> None:
    assert resolve_task("auto", truth, truth) == expected


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_resolve_task_explicit_is_kept(task: str) -> None:
    assert resolve_task(task, EXCLUSIVE, EXCLUSIVE) == TaskChoice(task, f"data_task={task}")


def test_resolve_task_multiclass_refuses_images_without_exactly_one_class() -> None:
    truth = frame([1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0])
    findings = truth.assign(**{"No Finding": [0, 0, 0, 0, 1, 1.0], "Hernia": [0, 0, 0, 0, 1, 0.0], "d": 0.0})
    with pytest.raises(SensitiveValueError) as caught:
        resolve_task("multiclass", truth, findings)
    message = "data_task=multiclass needs images with exactly one of the labels, got 3 with several (a and b: 2) and 2 "
    remedy = ": add the classes of the others to data_labels, or set data_task=multilabel for independent labels"
    assert str(caught.value) == f"{message}with none (No Finding: 2, Hernia: 1){remedy}"
    assert caught.value.nameless == f"{message}with none{remedy}"
    with pytest.raises(SensitiveValueError) as caught:
        resolve_task("multiclass", truth, findings, named=False)
    assert str(caught.value) == f"{message}with none{remedy}"


def test_exclude_other_classes_completes_known_and_clears_unknown_images() -> None:
    truth = frame([1, NAN, NAN], [0, NAN, 0], [NAN, NAN, NAN], [1, 1, NAN], [0, 0, 0])
    expected = frame([1, 0, 0], [NAN] * 3, [NAN] * 3, [1, 1, 0], [0, 0, 0])
    pd.testing.assert_frame_equal(exclude_other_classes(truth), expected)


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=3, max_size=3), min_size=1))
def test_exclude_other_classes_leaves_no_partly_unknown_image(rows: list[list[float]]) -> None:
    truth = frame(*rows)
    completed = exclude_other_classes(truth)
    unknown = completed.isna()
    assert (unknown.all(axis="columns") == unknown.any(axis="columns")).all()
    assert (completed.eq(1.0) == truth.eq(1.0)).all(axis=None)
    pd.testing.assert_frame_equal(exclude_other_classes(completed), completed)


def test_exclusive_pair_notes_name_the_binary_alternative() -> None:
    (note,) = exclusive_pair_notes("multiclass", ["NORMAL", "PNEUMONIA"])
    assert note == (
        "NORMAL and PNEUMONIA are exclusive: each image is assigned the class with the higher score; "
        "data_labels=PNEUMONIA trains one output with a threshold, which evaluate_operating_point chooses"
    )
    assert exclusive_pair_notes("multiclass", ["a", "b", "c"]) == exclusive_pair_notes("multilabel", ["a", "b"]) == ()


@given(st.permutations(list("abc")), st.integers(0, 2**6 - 1))
def test_resolve_task_order_of_labels_does_not_matter(names: list[str], bits: int) -> None:
    values = np.array([bits >> shift & 1 for shift in range(6)], float).reshape(2, 3)
    truth = frame(*values.tolist())
    assert resolve_task("auto", truth, truth) == resolve_task("auto", truth[names], truth)
