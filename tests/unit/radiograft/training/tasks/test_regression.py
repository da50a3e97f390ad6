"""The loss, the metrics and the scales of the regression task, and ridge probes."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from radiograft.config.training import Recipe
from radiograft.models.heads import attach_classifier, build_classifier, cast_to_policy
from radiograft.models.spec import ModelSpec, TargetScale
from radiograft.training import linear_probes, probe_solver
from radiograft.training.cut_off_curve import compute_curve
from radiograft.training.feature_extraction import FeatureSet
from radiograft.training.history import History
from radiograft.training.search.results import best_trial, make_trial, trials_monitor
from radiograft.training.tasks.registry import get_task
from radiograft.training.tasks.regression import MAX_LOSS, RegressionTask, fit_scales, mean_r2
from tests.helpers.feature_columns import side_by_side

SCALES = (TargetScale(60.0, 10.0), TargetScale(1.5, 0.5))
TASK = RegressionTask(SCALES)
NAN = float("nan")


def test_get_task_regression_has_linear_activation_and_r2() -> None:
    task = get_task("regression", ["age", "length"], SCALES)
    assert (task, task.activation, task.monitor.metric) == (TASK, "linear", "val_r2")


def test_loss_is_huber_of_standardized_errors_over_known_targets() -> None:
    """Errors of 0.5 and 3 standard deviations cost 0.125 and 2.5; an unknown target does not count."""
    loss = TASK.loss(np.zeros((3, 2), "float32"), Recipe())
    truth = np.array([[60.0, 1.5], [60.0, NAN], [NAN, NAN]], "float32")
    predicted = np.array([[65.0, 3.0], [90.0, 7.0], [1.0, 1.0]], "float32")
    np.testing.assert_allclose(loss.call(truth, predicted), [(0.125 + 2.5) / 2, 2.5, 0.0], rtol=1e-6)
    np.testing.assert_allclose(loss.worst(truth, predicted), [MAX_LOSS, MAX_LOSS, 0.0])


def test_loss_gradient_of_unknown_targets_is_zero_and_finite() -> None:
    loss = TASK.loss(np.zeros((1, 2), "float32"), Recipe())
    predicted = tf.Variable([[65.0, 2.0]])
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(loss.call(np.array([[60.0, NAN]], "float32"), predicted))
    np.testing.assert_allclose(tape.gradient(value, predicted), [[0.05, 0.0]], rtol=1e-6)


def test_metrics_report_the_mean_absolute_error_in_standard_deviations() -> None:
    (metric,) = TASK.metrics()
    metric.update_state(
        np.array([[60.0, 1.5], [60.0, NAN]], "float32"), np.array([[65.0, 3.0], [90.0, 0.0]], "float32")
    )
    assert metric.name == "mae"
    assert float(metric.result()) == pytest.approx((0.5 + 3.0) / 2 / 2 + 3.0 / 2)


def test_evaluate_matches_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = np.stack([rng.normal(60, 10, 50), rng.normal(1.5, 0.5, 50)], axis=1)
    scores = truth + rng.normal(0, [5.0, 0.3], (50, 2))
    truth[::7, 1] = NAN
    known = ~np.isnan(truth[:, 1])
    found = TASK.evaluate(truth, scores)
    second = r2_score(truth[known, 1], scores[known, 1])
    assert found["val_r2"] == pytest.approx((r2_score(truth[:, 0], scores[:, 0]) + second) / 2)
    errors = np.concatenate([(scores - truth)[:, 0] / 10, (scores - truth)[known, 1] / 0.5])
    assert found["val_mae"] == pytest.approx(np.abs(errors).mean())


def test_mean_r2_without_varying_target_raises() -> None:
    with pytest.raises(ValueError, match="different values of a target"):
        mean_r2(np.full((4, 1), 3.0), np.zeros((4, 1)))


@given(st.floats(0.01, 1000), st.floats(-1e3, 1e3))
@settings(max_examples=25, deadline=None)
def test_evaluate_does_not_depend_on_the_unit(factor: float, offset: float) -> None:
    """A law: loss and metrics are the same if all values are converted to another unit."""
    rng = np.random.default_rng(1)
    truth, scores = rng.normal(size=(20, 1)), rng.normal(size=(20, 1))
    one = RegressionTask((TargetScale(0.0, 1.0),)).evaluate(truth, scores)
    other = RegressionTask((TargetScale(offset, factor),)).evaluate(truth * factor + offset, scores * factor + offset)
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_fit_scales_ignores_unknown_values() -> None:
    assert fit_scales(np.array([[1.0, NAN], [3.0, 5.0], [NAN, 7.0]], "float32")) == ((2.0, 1.0), (6.0, 1.0))


def test_build_classifier_with_scales_returns_the_unit_of_the_data() -> None:
    """Fails if the layer that converts to the data's unit is lost in half precision or when a head is attached."""
    classifier = build_classifier(3, 2, dense_units=0, dropout=0.0, l2=0.0, seed=0, activation="linear", scales=SCALES)
    classifier.get_layer("probabilities").set_weights([np.zeros((3, 2)), np.array([1.0, -2.0])])
    features = keras.Input((3,), name="pooled")
    network = attach_classifier(keras.Model(features, keras.layers.Identity()(features), name="x_features"), classifier)
    np.testing.assert_allclose(network(np.ones((1, 3))), [[70.0, 0.5]])
    assert network.layers[-1].dtype_policy.name == "float32"


def test_build_classifier_of_numbers_predicts_the_means_before_training() -> None:
    """Fails if random weights on many features make the untrained network worse than no model."""
    classifier = build_classifier(
        500, 2, dense_units=16, dropout=0.0, l2=0.0, seed=0, activation="linear", scales=SCALES
    )
    features = np.random.default_rng(0).normal(size=(4, 500))
    np.testing.assert_allclose(classifier(features), [[60.0, 1.5]] * 4)


def test_model_spec_of_numbers_needs_a_scale_for_each(tmp_path: Path) -> None:
    spec = ModelSpec(64, ("age", "length"), "densenet121", "none", "", "fine_tuning", task="regression", scales=SCALES)
    spec.write(tmp_path)
    assert ModelSpec.read(tmp_path) == spec
    assert list(spec.outputs) == ["values"]
    ModelSpec(64, ("age",), "densenet121", "none", "", "fine_tuning", task="regression", scales=SCALES).write(tmp_path)
    with pytest.raises(ValueError, match="scales must give mean and deviation of 1 targets"):
        ModelSpec.read(tmp_path)


def test_fit_probes_of_numbers_match_scikit_learns_ridge() -> None:
    """Each target is solved on the images where it is known, on features standardized over all images."""
    rng = np.random.default_rng(0)
    features = rng.normal(2, 3, (60, 8)).astype("float32")
    truth = (features @ rng.normal(size=(8, 2)) + rng.normal(size=(60, 2)) + [100, -5]).astype("float32")
    truth[:20, 1] = NAN
    found = linear_probes.fit_probes(features, truth, [8], "linear").predict(features)[0]
    standardized = (features - features.mean(axis=0)) / features.std(axis=0)
    for place, penalty in enumerate(probe_solver.RIDGE_PENALTIES):
        for target, known in ((0, slice(None)), (1, slice(20, None))):
            rows = len(standardized[known])
            expected = Ridge(penalty * rows).fit(standardized[known], truth[known, target]).predict(standardized)
            np.testing.assert_allclose(found[place][:, target], expected, rtol=1e-3, atol=1e-2)


def test_compute_curve_of_numbers_selects_the_penalty_by_r2() -> None:
    rng = np.random.default_rng(0)
    features = {split: rng.normal(size=(40, 30)).astype("float16") for split in ("train", "validation")}
    truth = {split: (each[:, :1] + rng.normal(size=(40, 1))).astype("float32") for split, each in features.items()}
    extraction = FeatureSet(keras.Sequential(), side_by_side(["early", "late"], [5, 25]), features)
    points, scores = compute_curve(extraction, truth, RegressionTask((TargetScale(0.0, 1.0),)))
    assert [set(point) for point in points] == [{"layer", "channels", "penalty", "r2"}] * 2
    assert points[0]["r2"] == pytest.approx(mean_r2(truth["validation"], scores[0]))
    assert points[0]["r2"] > 0.2 > points[1]["r2"]  # the second layer has only noise
    assert points[1]["penalty"] == 100.0


def test_best_trial_of_numbers_has_the_highest_r2() -> None:
    rows = [{"val_r2": 0.1, "val_loss": 0.1}, {"val_r2": 0.4, "val_loss": 0.3}]
    trials = [make_trial({"model_cut_off": str(n)}, 5, History([], 0, row)) for n, row in enumerate(rows)]
    assert best_trial(trials)["overrides"] == {"model_cut_off": "1"}
    assert trials_monitor(trials).title == "R²"


def test_cast_to_policy_keeps_the_conversion_to_the_unit_in_float32() -> None:
    """Fails if a number such as 1234.5 is rounded to half precision."""
    inputs = keras.Input((3,), name="picture")
    normalized = keras.layers.Identity(name="normalised", dtype="float32")(inputs)
    pooled = keras.layers.Identity(name="pooled", dtype="float32")(normalized)
    scales = (TargetScale(1234.5, 1.0),)
    classifier = build_classifier(3, 1, dense_units=4, dropout=0.0, l2=0.0, seed=0, activation="linear", scales=scales)
    network = attach_classifier(keras.Model(inputs, pooled, name="x_features"), classifier)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        copy = cast_to_policy(network)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert copy.get_layer("classifier_dense").compute_dtype == "bfloat16"
    assert copy.get_layer("values").compute_dtype == "float32"
