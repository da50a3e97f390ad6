"""Thresholds of operating points, and thinned ROC curves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference  # type: ignore[import-untyped]

from radiograft.config.evaluation import OperatingPoint
from radiograft.metrics.label_metrics import choose_threshold, choose_thresholds
from radiograft.metrics.multilabel import roc_curve
from tests.helpers.samples import UNKNOWN, frame, noisy_scores, scored_images


class TestThreshold:
    def test_choose_threshold_separable_classes_lies_midway(self) -> None:
        assert choose_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]) == pytest.approx(0.4)

    def test_choose_threshold_tied_gains_takes_lowest(self) -> None:
        # Predicting one or three of the four positive gains 0.5 either way.
        assert choose_threshold([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == pytest.approx(0.225)

    def test_choose_threshold_unknown_truth_is_ignored(self) -> None:
        assert choose_threshold([0, UNKNOWN, 1], [0.2, 0.3, 0.6]) == pytest.approx(0.4)

    def test_choose_threshold_adjacent_floats_are_separated(self) -> None:
        upper = np.nextafter(0.5, 1)
        assert choose_threshold([0, 1], [0.5, upper]) == upper

    @settings(deadline=None)
    @given(scored_images())
    def test_choose_threshold_youden_maximizes_gain(self, images: tuple[list[float], list[float]]) -> None:
        truth, scores = (np.asarray(column) for column in images)
        predicted = scores >= choose_threshold(truth, scores)
        gain = predicted[truth == 1].mean() - predicted[truth == 0].mean()
        false_positive_rate, true_positive_rate, _ = reference.roc_curve(truth, scores)
        assert gain == pytest.approx((true_positive_rate - false_positive_rate).max())

    @settings(deadline=None)
    @given(scored_images(), st.floats(0.01, 1))
    def test_choose_threshold_sensitivity_takes_highest_threshold(
        self, images: tuple[list[float], list[float]], sensitivity: float
    ) -> None:
        truth, scores = (np.asarray(column) for column in images)
        threshold = choose_threshold(truth, scores, OperatingPoint(sensitivity=sensitivity))
        positives = scores[truth == 1]
        assert (positives >= threshold).mean() >= sensitivity - 1e-9
        assert (positives >= positives[positives >= threshold].min() + 1e-12).mean() < sensitivity

    def test_choose_threshold_exact_sensitivity_is_reached(self) -> None:
        truth, scores = [0, 0, 1, 1, 1, 1], [0.1, 0.5, 0.2, 0.4, 0.6, 0.8]
        assert choose_threshold(truth, scores, OperatingPoint(sensitivity=0.75)) == pytest.approx(0.3)
        assert choose_threshold(truth, scores, OperatingPoint(sensitivity=0.76)) == pytest.approx(0.15)

    def test_choose_threshold_one_class_raises(self) -> None:
        with pytest.raises(ValueError, match="both classes, got 2 positive and 0 negative"):
            choose_threshold([1, 1, UNKNOWN], [0.2, 0.3, 0.4])

    def test_choose_thresholds_label_of_one_class_is_omitted(self) -> None:
        validation = frame(
            ["a", "b", "c"], sound=([0, 1, 1], [0.2, 0.6, 0.9]), empty=([0, 0, UNKNOWN], [0.2, 0.6, 0.9])
        )
        assert choose_thresholds(validation, ["sound", "empty"]) == {"sound": pytest.approx(0.4)}


class TestRocCurve:
    def test_roc_curve_worked_example(self) -> None:
        false_positive_rate, true_positive_rate, thresholds = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        assert false_positive_rate == [0, 0, 0.5, 0.5, 1]
        assert true_positive_rate == [0, 0.5, 0.5, 1, 1]
        assert thresholds[1:] == [0.8, 0.4, 0.35, 0.1]
        assert 0.8 < thresholds[0] < 0.81

    @settings(deadline=None)
    @given(scored_images())
    def test_roc_curve_threshold_gives_its_point(self, images: tuple[list[float], list[float]]) -> None:
        truth, scores = (np.asarray(column) for column in images)
        for false_positive_rate, true_positive_rate, threshold in zip(*roc_curve(truth, scores), strict=True):
            assert (scores[truth == 0] >= threshold).mean() == pytest.approx(false_positive_rate)
            assert (scores[truth == 1] >= threshold).mean() == pytest.approx(true_positive_rate)

    @pytest.mark.parametrize("images", [730, 20_000])
    def test_roc_curve_thinned_keeps_area_and_end_points(self, images: int) -> None:
        truth, scores = noisy_scores(images)
        false_positive_rate, true_positive_rate, thresholds = roc_curve(truth, scores)
        assert len(false_positive_rate) == len(true_positive_rate) == len(thresholds) == 200
        area = np.trapezoid(true_positive_rate, false_positive_rate)
        assert area == pytest.approx(reference.roc_auc_score(truth, scores), abs=0.001)
        assert (false_positive_rate[0], true_positive_rate[0]) == (0, 0)
        assert (false_positive_rate[-1], true_positive_rate[-1]) == (1, 1)
        json.dumps([false_positive_rate, true_positive_rate, thresholds], allow_nan=False)
