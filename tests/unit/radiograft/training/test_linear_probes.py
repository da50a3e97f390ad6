"""Probes match the logistic regressions of scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from radiograft.training import linear_probes, probe_solver, stored_inputs
from radiograft.training.probe_solver import PENALTIES

WIDTHS = [3, 8, 5]
CLOSE = 2e-3  # as probabilities


def images(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns features of three layers and two labels; the second layer is the most informative."""
    random = np.random.default_rng(seed)
    features = random.normal(3.0, 2.0, (number, sum(WIDTHS))).astype("float32")
    signal = np.stack([features[:, 3] - features[:, 4], features[:, 5] + 0.5 * features[:, 0]], axis=1)
    noise = random.normal(0, 1.0, signal.shape)
    return features, (signal - signal.mean(axis=0) + noise > 0).astype("float32")


def reference(features: np.ndarray, truth: np.ndarray, penalty: float, held_out: np.ndarray) -> np.ndarray:
    """Returns probabilities of scikit-learn, fitted on images with a known label.

    Its C refers to the sum of the losses, the penalty of the probes to the mean.
    """
    features, held_out = features.astype("float64"), held_out.astype("float64")
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    known = ~np.isnan(truth)
    model = LogisticRegression(C=1 / (penalty * known.sum()), tol=1e-8, max_iter=10_000)
    model.fit(((features - mean) / deviation)[known], truth[known])
    return np.asarray(model.predict_proba((held_out - mean) / deviation)[:, 1])


def assert_agrees(features: np.ndarray, truth: np.ndarray, held_out: np.ndarray, widths: list[int]) -> None:
    predicted = linear_probes.fit_probes(features, truth, widths).predict(held_out)
    assert predicted.shape == (len(widths), len(PENALTIES), len(held_out), truth.shape[1])
    assert predicted.dtype == np.float32
    for layer, (end, width) in enumerate(zip(np.cumsum(widths), widths, strict=True)):
        part = slice(end - width, end)
        for index, penalty in enumerate(PENALTIES):
            for label in range(truth.shape[1]):
                expected = reference(features[:, part], truth[:, label], penalty, held_out[:, part])
                np.testing.assert_allclose(predicted[layer, index, :, label], expected, atol=CLOSE)


@pytest.mark.parametrize("number", [400, 3000])
def test_fit_probes_matches_scikit_learn(number: int) -> None:
    assert_agrees(*images(number, 0), images(100, 1)[0], WIDTHS)


def test_fit_probes_collinear_channels_match_scikit_learn() -> None:
    """As in deep layers: 200 collinear channels of 8 signals and 40 independent channels, for 60 images."""
    random = np.random.default_rng(0)
    signals = random.normal(size=(160, 8))
    collinear = signals @ random.normal(size=(8, 200)) + 0.01 * random.normal(size=(160, 200))
    features = np.concatenate([collinear, random.normal(size=(160, 40))], axis=1).astype("float32")
    truth = (signals[:, :2] + 0.5 * random.normal(size=(160, 2)) > 0.8).astype("float32")
    assert_agrees(features[:60], truth[:60], features[60:], [200, 40])


def test_fit_probes_ignores_unknown_labels() -> None:
    features, truth = images(200, 0)
    truth[50:, 1] = np.nan
    assert_agrees(features, truth, images(100, 1)[0], WIDTHS)


@pytest.mark.parametrize("share", [1.0, 0.95, 0.6, 0.05, 0.01])
def test_fit_probes_few_known_labels_converge(share: float, caplog: pytest.LogCaptureFixture) -> None:
    """Fails if rare labels are solved on the axes of all images: 300 steps then do not suffice."""
    random = np.random.default_rng(1)
    features = (random.normal(size=(3000, 100)) + random.normal(size=(3000, 1))).astype("float32")
    truth = (features[:, :2] + random.normal(size=(3000, 2)) > 0).astype("float32")
    truth[random.random(3000) > share, 0] = np.nan
    with caplog.at_level("WARNING"):
        assert_agrees(features, truth, features[:500], [100])
    assert caplog.text == ""


class TestExclusiveClasses:
    """Probes of exclusive classes match the multinomial regressions of scikit-learn."""

    CLASSES = 4

    def classes(self, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns features of three layers and one-hot classes; one class is rare."""
        random = np.random.default_rng(seed)
        features = random.normal(3.0, 2.0, (number, sum(WIDTHS))).astype("float32")
        logits = 0.5 * features[:, 3 : 3 + self.CLASSES] + random.gumbel(size=(number, self.CLASSES))
        return features, np.eye(self.CLASSES, dtype="float32")[(logits - [0, 0, 0, 2]).argmax(axis=1)]

    def expected(self, features: np.ndarray, truth: np.ndarray, penalty: float, held_out: np.ndarray) -> np.ndarray:
        features, held_out = features.astype("float64"), held_out.astype("float64")
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        known = ~np.isnan(truth).any(axis=1)
        model = LogisticRegression(C=1 / (penalty * known.sum()), tol=1e-8, max_iter=10_000)
        model.fit(((features - mean) / deviation)[known], truth[known].argmax(axis=1))
        return np.asarray(model.predict_proba((held_out - mean) / deviation))

    @pytest.mark.parametrize("unknown", [0, 150])
    def test_fit_probes_matches_scikit_learn(self, unknown: int, caplog: pytest.LogCaptureFixture) -> None:
        features, truth = self.classes(600, 0)
        truth[:unknown] = np.nan
        held_out = self.classes(100, 1)[0]
        with caplog.at_level("WARNING"):
            predicted = linear_probes.fit_probes(features, truth, WIDTHS, "softmax").predict(held_out)
        assert predicted.shape == (3, 3, 100, self.CLASSES)
        np.testing.assert_allclose(predicted.sum(axis=-1), 1.0, rtol=1e-5)
        for layer, (end, width) in enumerate(zip(np.cumsum(WIDTHS), WIDTHS, strict=True)):
            part = slice(end - width, end)
            for index, penalty in enumerate(PENALTIES):
                expected = self.expected(features[:, part], truth, penalty, held_out[:, part])
                np.testing.assert_allclose(predicted[layer, index], expected, atol=CLOSE)
        assert caplog.text == ""

    def test_fit_probes_permuted_classes_permute_probabilities(self) -> None:
        features, truth = self.classes(200, 0)
        order = [2, 0, 3, 1]
        predicted = linear_probes.fit_probes(features, truth, WIDTHS, "softmax").predict(features)
        permuted = linear_probes.fit_probes(features, truth[:, order], WIDTHS, "softmax").predict(features)
        np.testing.assert_allclose(permuted, predicted[..., order], atol=CLOSE)

    def test_fit_probes_class_without_images_is_never_predicted(self, caplog: pytest.LogCaptureFixture) -> None:
        """Fails if the class is solved: its bias has no finite optimum, with a warning for each layer."""
        features, truth = self.classes(200, 0)
        kept = truth[:, 3] == 0
        with caplog.at_level("WARNING"):
            predicted = linear_probes.fit_probes(features[kept], truth[kept], WIDTHS, "softmax").predict(features)
        assert caplog.text == ""
        assert predicted[..., 3].max() < 1e-6
        without = linear_probes.fit_probes(features[kept], truth[kept, :3], WIDTHS, "softmax").predict(features)
        np.testing.assert_allclose(predicted[..., :3], without, atol=1e-5)

    @pytest.mark.parametrize("classes", [[], [1]])
    def test_fit_probes_of_at_most_one_class_are_finite(self, classes: list[int]) -> None:
        features, _ = self.classes(20, 0)
        truth = np.full((20, self.CLASSES), np.nan, "float32")
        if classes:
            truth[:] = np.eye(self.CLASSES)[classes[0]]
        predicted = linear_probes.fit_probes(features, truth, WIDTHS, "softmax").predict(features)
        np.testing.assert_allclose(predicted.sum(axis=-1), 1.0, rtol=1e-5)
        assert not classes or predicted[..., classes[0]].min() > 0.999


def test_fit_probes_without_convergence_warns(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the last step counts as the optimum whatever its size."""
    monkeypatch.setattr(probe_solver, "MAX_STEPS", 3)
    with caplog.at_level("WARNING"):
        linear_probes.fit_probes(*images(200, 0), WIDTHS)
    assert "linear probes: no convergence in 3 steps, scores still change by" in caplog.text


@pytest.mark.parametrize("known", [1, 5])
def test_fit_probes_few_equal_labels_give_finite_probabilities(known: int) -> None:
    """Fails on division by a deviation of zero."""
    features, truth = images(200, 0)
    truth[:, 0] = np.nan
    truth[:known, 0] = 1.0
    predicted = linear_probes.fit_probes(features, truth, WIDTHS).predict(features)[..., 0]
    assert np.isfinite(predicted).all()
    assert (predicted[..., :known] > 0.5).all()


@pytest.mark.parametrize("known", [1, 195, 200])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_fit_probes_label_of_one_class_predicts_prevalence(
    value: float, known: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails if such a label is solved: its bias grows for all 300 steps in every layer, with a warning each."""
    features, truth = images(200, 0)
    both = linear_probes.fit_probes(features, truth, WIDTHS).predict(features)
    truth[:, 0] = np.nan
    truth[:known, 0] = value
    with caplog.at_level("WARNING"):
        predicted = linear_probes.fit_probes(features, truth, WIDTHS).predict(features)
    share = (known + 0.5) / (known + 1)
    np.testing.assert_allclose(predicted[..., 0], share if value else 1 - share, rtol=1e-4)
    np.testing.assert_allclose(predicted[..., 1], both[..., 1], atol=CLOSE)
    assert caplog.text == ""


def test_fit_probes_unknown_label_predicts_one_half() -> None:
    features, truth = images(50, 0)
    truth[:, 0] = np.nan
    np.testing.assert_array_equal(linear_probes.fit_probes(features, truth, WIDTHS).predict(features)[..., 0], 0.5)


def test_fit_probes_ignores_constant_features() -> None:
    features, truth = images(200, 0)
    features[:, 1], features[:, 3:11] = 7.0, 0.0  # one channel of the first layer, all of the second
    predicted = linear_probes.fit_probes(features, truth, WIDTHS).predict(features)
    without = linear_probes.fit_probes(np.delete(features, 1, axis=1), truth, [2, 8, 5]).predict(
        np.delete(features, 1, axis=1)
    )
    np.testing.assert_allclose(predicted, without, atol=1e-5)
    share = np.broadcast_to(truth.mean(axis=0), predicted[1].shape)
    np.testing.assert_allclose(predicted[1], share, atol=CLOSE)


def test_fit_probes_memory_mapped_half_precision_is_reproducible(tmp_path: Path) -> None:
    features, truth = images(200, 0)
    half = features.astype("float16")
    np.save(tmp_path / "train.npy", half)
    stored = np.load(tmp_path / "train.npy", mmap_mode="r")
    first, second = (
        linear_probes.fit_probes(part, truth, WIDTHS).predict(part) for part in (stored, half.astype("float32"))
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "linear"])
def test_fit_probe_of_more_rows_than_fit_into_memory_equals_the_fit_in_memory(
    activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the parts of the stored rows are not put together as the whole, for labels that are partly unknown."""
    rng = np.random.default_rng(0)
    features = rng.normal(2, 3, (300, 20)).astype("float16")
    truth = (features[:, :3] + rng.normal(0, 3, (300, 3)) > 2).astype("float32")
    if activation == "softmax":
        truth = np.eye(3, dtype="float32")[truth[:, :2].sum(axis=1).astype(int)]
    truth[:10] = np.nan
    if activation == "sigmoid":
        truth[:150, 2] = np.nan
    whole = linear_probes.fit_probe(features, truth, activation).predict(features)
    for module in (linear_probes, probe_solver, stored_inputs):
        monkeypatch.setattr(module, "ROWS_IN_MEMORY", 64)
    in_parts = linear_probes.fit_probe(features, truth, activation).predict(features)
    assert whole.std() > 0.05
    np.testing.assert_allclose(in_parts, whole, atol=2e-4)
