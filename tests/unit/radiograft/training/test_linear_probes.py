"""Probes trained together are the logistic regressions that scikit-learn trains one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from radiograft.training import linear_probes

WIDTHS = [3, 8, 5]
CLOSE = 2e-3  # as probabilities


def images(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of three candidates and two labels; the second candidate knows the labels best."""
    random = np.random.default_rng(seed)
    features = random.normal(3.0, 2.0, (number, sum(WIDTHS))).astype("float32")
    signal = np.stack([features[:, 3] - features[:, 4], features[:, 5] + 0.5 * features[:, 0]], axis=1)
    noise = random.normal(0, 1.0, signal.shape)
    return features, (signal - signal.mean(axis=0) + noise > 0).astype("float32")


def reference(features: np.ndarray, truth: np.ndarray, penalty: float, wanted: np.ndarray) -> np.ndarray:
    """scikit-learn's probabilities from the images of known truth; its C weighs the summed loss, our penalty the
    mean loss."""
    features, wanted = features.astype("float64"), wanted.astype("float64")
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    known = ~np.isnan(truth)
    model = LogisticRegression(C=1 / (penalty * known.sum()), tol=1e-8, max_iter=10_000)
    model.fit(((features - mean) / deviation)[known], truth[known])
    return np.asarray(model.predict_proba((wanted - mean) / deviation)[:, 1])


def assert_agrees(features: np.ndarray, truth: np.ndarray, held_out: np.ndarray, widths: list[int]) -> None:
    found = linear_probes.fit_probes(features, truth, widths).predict(held_out)
    assert found.shape == (len(widths), len(linear_probes.PENALTIES), len(held_out), truth.shape[1])
    assert found.dtype == np.float32
    for candidate, (end, width) in enumerate(zip(np.cumsum(widths), widths, strict=True)):
        part = slice(end - width, end)
        for index, penalty in enumerate(linear_probes.PENALTIES):
            for label in range(truth.shape[1]):
                wanted = reference(features[:, part], truth[:, label], penalty, held_out[:, part])
                np.testing.assert_allclose(found[candidate, index, :, label], wanted, atol=CLOSE)


@pytest.mark.parametrize("number", [400, 3000])
def test_each_agrees_with_scikit_learn(number: int) -> None:
    assert_agrees(*images(number, 0), images(100, 1)[0], WIDTHS)


def test_with_more_channels_than_images_and_alike_ones() -> None:
    """As in deep layers: 200 and 40 channels of 8 and 40 independent signals, for 60 images."""
    random = np.random.default_rng(0)
    signals = random.normal(size=(160, 8))
    alike = signals @ random.normal(size=(8, 200)) + 0.01 * random.normal(size=(160, 200))
    features = np.concatenate([alike, random.normal(size=(160, 40))], axis=1).astype("float32")
    truth = (signals[:, :2] + 0.5 * random.normal(size=(160, 2)) > 0.8).astype("float32")
    assert_agrees(features[:60], truth[:60], features[60:], [200, 40])


def test_unknown_truth_does_not_count() -> None:
    features, truth = images(200, 0)
    truth[50:, 1] = np.nan
    assert_agrees(features, truth, images(100, 1)[0], WIDTHS)


@pytest.mark.parametrize("share", [1.0, 0.95, 0.6, 0.05, 0.01])
def test_however_few_truths_are_known_the_optimum_is_found(share: float, caplog: pytest.LogCaptureFixture) -> None:
    """Fails where few known labels are solved on the axes of all images: 300 steps then end far from it."""
    random = np.random.default_rng(1)
    features = (random.normal(size=(3000, 100)) + random.normal(size=(3000, 1))).astype("float32")
    truth = (features[:, :2] + random.normal(size=(3000, 2)) > 0).astype("float32")
    truth[random.random(3000) > share, 0] = np.nan
    with caplog.at_level("WARNING"):
        assert_agrees(features, truth, features[:500], [100])
    assert caplog.text == ""


def test_an_optimum_that_is_not_reached_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails where the last step is taken for the optimum, however far it led."""
    monkeypatch.setattr(linear_probes, "MAX_STEPS", 3)
    with caplog.at_level("WARNING"):
        linear_probes.fit_probes(*images(200, 0), WIDTHS)
    assert "linear probes: no convergence in 3 steps, scores still change by" in caplog.text


@pytest.mark.parametrize("known", [1, 5])
def test_few_truths_that_are_all_the_same_give_a_figure(known: int) -> None:
    """Fails where a spread of nothing is divided by."""
    features, truth = images(200, 0)
    truth[:, 0] = np.nan
    truth[:known, 0] = 1.0
    found = linear_probes.fit_probes(features, truth, WIDTHS).predict(features)[..., 0]
    assert np.isfinite(found).all()
    assert (found[..., :known] > 0.5).all()


@pytest.mark.parametrize("known", [1, 195, 200])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_label_of_one_class_is_told_by_its_share(value: float, known: int, caplog: pytest.LogCaptureFixture) -> None:
    """Fails where such a label is solved: its bias grows for all 300 steps, in every layer, with a warning each."""
    features, truth = images(200, 0)
    both = linear_probes.fit_probes(features, truth, WIDTHS).predict(features)
    truth[:, 0] = np.nan
    truth[:known, 0] = value
    with caplog.at_level("WARNING"):
        found = linear_probes.fit_probes(features, truth, WIDTHS).predict(features)
    share = (known + 0.5) / (known + 1)
    np.testing.assert_allclose(found[..., 0], share if value else 1 - share, rtol=1e-4)
    np.testing.assert_allclose(found[..., 1], both[..., 1], atol=CLOSE)
    assert caplog.text == ""


def test_a_label_of_which_nothing_is_known_is_even() -> None:
    features, truth = images(50, 0)
    truth[:, 0] = np.nan
    np.testing.assert_array_equal(linear_probes.fit_probes(features, truth, WIDTHS).predict(features)[..., 0], 0.5)


def test_constant_features_count_nothing_whatever_they_are() -> None:
    features, truth = images(200, 0)
    features[:, 1], features[:, 3:11] = 7.0, 0.0  # one of the first candidate, all of the second
    found = linear_probes.fit_probes(features, truth, WIDTHS).predict(features)
    without = linear_probes.fit_probes(np.delete(features, 1, axis=1), truth, [2, 8, 5]).predict(
        np.delete(features, 1, axis=1)
    )
    np.testing.assert_allclose(found, without, atol=1e-5)
    share = np.broadcast_to(truth.mean(axis=0), found[1].shape)
    np.testing.assert_allclose(found[1], share, atol=CLOSE)


def test_half_precision_from_a_file_gives_the_same_every_time(tmp_path: Path) -> None:
    features, truth = images(200, 0)
    half = features.astype("float16")
    np.save(tmp_path / "train.npy", half)
    stored = np.load(tmp_path / "train.npy", mmap_mode="r")
    first, second = (
        linear_probes.fit_probes(part, truth, WIDTHS).predict(part) for part in (stored, half.astype("float32"))
    )
    np.testing.assert_array_equal(first, second)
