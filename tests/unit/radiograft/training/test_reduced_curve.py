"""Dimensionality reductions beside the cut-off curve, on features with known structure."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.evaluation.probe_curves import read_reduced_curve
from radiograft.training import reduced_curve
from radiograft.training.cut_off_curve import compute_curve
from radiograft.training.feature_extraction import FeatureSet
from radiograft.training.reduced_curve import compute_reduced_curve, fit_projection, write_reduced_curve
from tests.helpers.feature_columns import side_by_side

TRAIN, VALIDATION, WIDTHS = 400, 200, [12, 40]
Truth = dict[str, np.ndarray]
METHODS = ["pca", "pls", "lda"]


def labeled_features(seed: int = 0) -> tuple[FeatureSet, Truth]:
    """Returns two layers; a direction of the second predicts two labels, with noise. A tenth is unknown."""
    random, stored, truth = np.random.default_rng(seed), dict[str, np.ndarray](), Truth()
    for split, images in (("train", TRAIN), ("validation", VALIDATION)):
        values = random.normal(size=(images, sum(WIDTHS))).astype("float16")
        signal = values[:, 20:22].astype("float32") + random.normal(size=(images, 2))
        stored[split] = values
        truth[split] = np.where(random.random((images, 2)) < 0.1, np.nan, signal > 0.5).astype("float32")
    return FeatureSet(keras.Sequential(), side_by_side(["shallow", "deep"], WIDTHS), stored), truth


def angle(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the absolute cosine of the angle between two directions."""
    return float(abs(one @ other) / np.linalg.norm(one) / np.linalg.norm(other))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_fit_projection_lda_finds_direction_of_two_gaussian_classes(seed: int) -> None:
    """The direction is the inverse covariance times the difference of the means, whatever the scales are."""
    random = np.random.default_rng(seed)
    mixing = np.diag([0.01, 0.1, 1.0, 10.0, 100.0]) @ (random.uniform(-0.15, 0.15, size=(5, 5)) + np.eye(5))
    standardized, label = random.normal(size=5), np.arange(4000) % 2 == 1
    difference = mixing @ standardized * 3 / np.linalg.norm(standardized)  # three standard deviations
    features = random.normal(size=(4000, 5)) @ mixing.T + label[:, None] * difference
    projection = fit_projection("lda", features, label[:, None].astype("float32"), 1)
    expected = np.linalg.solve(mixing @ mixing.T, difference)
    assert projection.axes.shape == (5, 1)
    scale = features.std(axis=0)  # in raw units, the feature of the smallest scale would decide
    assert angle(projection.axes[:, 0] * scale, expected * scale) > 0.97


def test_fit_projection_pls_finds_the_only_predictive_direction() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(2000, 6)) * [1, 1, 1, 1, 1, 10]
    truth = (features[:, :1] + features[:, 1:2] > 0).astype("float32")
    projection = fit_projection("pls", features, truth, 1)
    assert angle(projection.axes[:, 0], np.array([1, 1, 0, 0, 0, 0])) > 0.99
    leading = fit_projection("pls", features, truth, 3).axes[:, :1]
    np.testing.assert_allclose(leading, projection.axes, atol=1e-5)


def test_fit_projection_pca_orders_directions_by_variance() -> None:
    random = np.random.default_rng(0)
    shared = random.normal(size=(500, 1))
    features = np.concatenate([shared, shared, shared, random.normal(size=(500, 2))], axis=1)
    components = fit_projection("pca", features, np.zeros((500, 1)), 3).apply(features)
    assert np.var(components, axis=0) == pytest.approx([3, 1, 1], abs=0.1)
    assert np.mean(components, axis=0) == pytest.approx([0, 0, 0], abs=1e-5)


@pytest.mark.parametrize("method", ["pls", "lda"])
def test_fit_projection_unknown_labels_do_not_count(method: str) -> None:
    """LDA leaves such images out. In PLS their label is the mean, so they only change the spread of the features."""
    random = np.random.default_rng(1)
    features = random.normal(size=(600, 4))
    truth = np.where(np.arange(600) < 300, features[:, 0] > 0, np.nan).astype("float32")[:, None]
    axes = fit_projection(method, features, truth, 1).axes[:, 0]
    known = fit_projection(method, features[:300], truth[:300], 1).axes[:, 0]
    assert angle(axes, known) > 0.99
    with pytest.raises(ValueError, match=f"model_feature_reduction={method} must have a training label"):
        fit_projection(method, features, np.full((600, 1), np.nan, "float32"), 1)


def test_compute_reduced_curve_all_pca_components_equal_probe_of_plain_features() -> None:
    extraction, truth = labeled_features()
    plain, scores = compute_curve(extraction, truth)
    # The smallest number of components is 16, above the 12 channels of the first layer.
    reduced, reduced_scores = compute_reduced_curve(extraction, truth, ["pca"], seed=0)
    assert (reduced[0]["layer"], reduced[0]["components"]) == ("shallow", 12)
    assert reduced[0]["auroc"] == pytest.approx(plain[0]["auroc"], abs=1e-4)
    assert reduced[0]["penalty"] == plain[0]["penalty"]
    np.testing.assert_allclose(reduced_scores[0], scores[0], atol=1e-3)


def test_compute_reduced_curve_finds_informative_layer_with_every_method() -> None:
    extraction, truth = labeled_features()
    points, scores = compute_reduced_curve(extraction, truth, METHODS, seed=0)
    names = [(point["layer"], point["method"]) for point in points]
    assert names == [(layer, method) for layer in ("shallow", "deep") for method in METHODS]
    assert scores.shape == (6, VALIDATION, 2)
    for shallow, deep in zip(points[:3], points[3:], strict=True):
        assert deep["auroc"] > 0.7 > shallow["auroc"]
    assert {point["components"] for point in points if point["method"] == "lda"} == {2}
    assert points[3]["components"] in (16, 40)
    assert points[4]["components"] in (4, 16, 40)


@pytest.mark.parametrize("method", METHODS)
def test_compute_reduced_curve_fits_nothing_to_validation_images(method: str) -> None:
    """Other images in validation do not change the scores of the remaining ones."""
    extraction, truth = labeled_features()
    changed = {"train": extraction.stored["train"], "validation": extraction.stored["validation"].copy()}
    changed["validation"][100:] = np.random.default_rng(9).normal(5, 3, (100, sum(WIDTHS)))
    labels = {**truth, "validation": truth["validation"].copy()}
    labels["validation"][100:] = np.nan  # they do not take part in the selection
    points, scores = compute_reduced_curve(extraction, labels, [method], seed=0)
    others, other_scores = compute_reduced_curve(dataclasses.replace(extraction, stored=changed), labels, [method], 0)
    assert others == points
    np.testing.assert_allclose(other_scores[:, :100], scores[:, :100], atol=1e-6)
    assert np.abs(other_scores[:, 100:] - scores[:, 100:]).max() > 0.1


def test_compute_reduced_curve_fits_projection_to_bounded_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the memory of the fit grows with the data set."""
    sizes = list[int]()

    def spy(method: str, features: np.ndarray, *args: object) -> reduced_curve.Projection:
        sizes.append(len(features))
        return fit_projection(method, features, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(reduced_curve, "MAX_FITTED", 100)
    monkeypatch.setattr(reduced_curve, "fit_projection", spy)
    extraction, truth = labeled_features()
    points, _ = compute_reduced_curve(extraction, truth, ["lda"], seed=0)
    assert sizes == [100, 100]
    assert points[1]["auroc"] > 0.7


def test_read_reduced_curve_adds_intervals(tmp_path: Path) -> None:
    extraction, truth = labeled_features()
    points, scores = compute_reduced_curve(extraction, truth, ["pls", "lda"], seed=0)
    write_reduced_curve(tmp_path, points, scores, tmp_path / "logs")
    rows = pd.DataFrame(truth["validation"].astype("float64"), columns=["label:a", "label:b"])
    rows = rows.assign(patient_id=[str(number // 2) for number in range(VALIDATION)])
    for point, estimate in zip(points, read_reduced_curve(tmp_path, rows, ["a", "b"], 100, 0), strict=True):
        assert (estimate["layer"], estimate["method"]) == (point["layer"], point["method"])
        assert (estimate["components"], estimate["penalty"]) == (point["components"], point["penalty"])
        assert estimate["auroc"]["value"] == pytest.approx(point["auroc"])
        assert estimate["auroc"]["low"] is not None
        assert estimate["auroc"]["low"] < point["auroc"]
