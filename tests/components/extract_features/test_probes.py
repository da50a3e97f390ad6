"""Probes trained together find what logistic regressions trained one by one find."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from components.extract_features import probes

WIDTHS = [3, 8, 5]


def pictures(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of three candidates and two labels; the second candidate knows the labels best."""
    random = np.random.default_rng(seed)
    features = random.normal(3.0, 2.0, (number, sum(WIDTHS))).astype("float32")
    signal = np.stack([features[:, 3] - features[:, 4], features[:, 5] + 0.5 * features[:, 0]], axis=1)
    noise = random.normal(0, 1.0, signal.shape)
    return features, (signal - signal.mean(axis=0) + noise > 0).astype("float32")


def reference(features: np.ndarray, truth: np.ndarray, penalty: float, wanted: np.ndarray) -> np.ndarray:
    """scikit-learn's probabilities; its C weighs the summed loss, our penalty the mean loss."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    model = LogisticRegression(C=1 / (penalty * len(features)), tol=1e-8, max_iter=10_000)
    model.fit((features - mean) / deviation, truth)
    return np.asarray(model.predict_proba((wanted - mean) / deviation)[:, 1])


def test_each_agrees_with_scikit_learn() -> None:
    features, truth = pictures(400, 0)
    held_out, _ = pictures(100, 1)
    found = probes.fit(features, truth, WIDTHS, seed=0).predict(held_out)
    assert found.shape == (3, len(probes.PENALTIES), 100, 2)
    ends = np.cumsum(WIDTHS)
    for candidate, (end, width) in enumerate(zip(ends, WIDTHS, strict=True)):
        for index, penalty in enumerate(probes.PENALTIES):
            for label in range(2):
                part = slice(end - width, end)
                wanted = reference(features[:, part], truth[:, label], penalty, held_out[:, part])
                np.testing.assert_allclose(found[candidate, index, :, label], wanted, atol=0.02)


def test_in_batches_they_find_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    features, truth = pictures(3000, 0)
    held_out, wanted = pictures(500, 1)
    assert len(features) > probes.BATCH
    found = probes.fit(features, truth, WIDTHS, seed=0).predict(held_out)
    monkeypatch.setattr(probes, "BATCH", 3000)
    whole = probes.fit(features, truth, WIDTHS, seed=0).predict(held_out)
    for candidate in range(2):  # the third knows nothing of the labels
        scores = [roc_auc_score(wanted[:, 0], each[candidate, 1, :, 0]) for each in (found, whole)]
        assert scores[0] == pytest.approx(scores[1], abs=0.01)


def test_unknown_truth_does_not_count() -> None:
    features, truth = pictures(200, 0)
    truth[50:, 1] = np.nan
    both = probes.fit(features, truth, WIDTHS, seed=0).predict(features)
    alone = probes.fit(features[:50], truth[:50, 1:], WIDTHS, seed=0)
    # The second label alone sees 50 pictures, though standardised with others: the order of its scores must agree.
    scores = alone.predict(features)[1, 2, :, 0], both[1, 2, :, 1]
    assert np.corrcoef(*scores)[0, 1] > 0.97


def test_a_constant_feature_and_a_second_run_change_nothing() -> None:
    features, truth = pictures(200, 0)
    features[:, 1] = 7.0
    first, second = (probes.fit(features, truth, WIDTHS, seed=0).predict(features) for _ in range(2))
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)
