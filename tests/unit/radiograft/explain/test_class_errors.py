"""Errors between exclusive classes: which pairs are the most frequent, and their images."""

from __future__ import annotations

from radiograft.explain.class_errors import ErrorPair, find_errors
from radiograft.explain.gallery import Call, decide_labels
from tests.helpers.samples import class_frame

NAMES = ("nv", "mel", "bcc")
TRUTH = [0, 1, 1, 1, 2, -1, 0]
SCORES = [
    *([0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]),
    *([0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.5, 0.5, 0.0]),
]


def test_find_errors_sorts_pairs_by_images_and_images_by_score() -> None:
    frame = class_frame(NAMES, TRUTH, SCORES).assign(patient_id=["a", "b", "b", "c", "d", "e", "f"])
    assert find_errors(frame, NAMES) == [
        ErrorPair("mel", "nv", [Call(2, "2.png", 0.8), Call(1, "1.png", 0.6)], n_patients=1, n_images=3),
        ErrorPair("bcc", "mel", [Call(4, "4.png", 0.7)], n_patients=1, n_images=1),
    ]


def test_find_errors_perfect_predictions_returns_nothing() -> None:
    assert find_errors(class_frame(NAMES, [0, 1], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), NAMES) == []


def test_decide_labels_exclusive_takes_highest_score_and_ignores_thresholds() -> None:
    frame = class_frame(NAMES, TRUTH, SCORES)
    decided = decide_labels(frame, NAMES, {"mel": 0.05}, exclusive=True)
    assert {name: mask.tolist() for name, mask in decided.items()} == {
        "nv": [True, True, True, False, False, False, True],  # of equal scores, the first
        "mel": [False, False, False, True, True, True, False],
        "bcc": [False] * 7,
    }


def test_decide_labels_independent_takes_thresholds() -> None:
    decided = decide_labels(class_frame(NAMES, TRUTH, SCORES), NAMES, {"mel": 0.5}, exclusive=False)
    assert {name: mask.tolist() for name, mask in decided.items()} == {
        "mel": [False, False, False, True, True, True, True]
    }
