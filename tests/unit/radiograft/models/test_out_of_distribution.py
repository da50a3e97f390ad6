"""The out-of-distribution flag: the distance is Mahalanobis's, and the served answer computes it from file bytes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from radiograft.config.network import MapPooling
from radiograft.models import artifact
from radiograft.models.class_maps import build_class_map_classifier
from radiograft.models.heads import attach_classifier
from radiograft.models.out_of_distribution import MAX_FITTED, FeatureDistribution, draw_fitted, fit_distribution
from radiograft.models.spec import IMAGES_SIGNATURE, ModelSpec, TensorNames
from tests.helpers.images import encode, noise
from tests.helpers.killed_stage import small_network

SIZE = 32
FLAGGED = """
import json, pathlib, sys
import tensorflow as tf

folder, *files = sys.argv[1:]
serve = tf.saved_model.load(folder).signatures["serving_default"]
outputs = serve(image_bytes=tf.constant([pathlib.Path(file).read_bytes() for file in files]))
assert "radiograft" not in sys.modules, "the SavedModel needs this package"
print(json.dumps({name: values.numpy().tolist() for name, values in outputs.items()}))
"""


def gaussian(images: int, channels: int, seed: int) -> np.ndarray:
    """Returns correlated features of different scales."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(channels, channels)) * np.geomspace(1, 5, channels)
    return (random.normal(size=(images, channels)) @ mixing + np.arange(channels)).astype("float32")


def test_fit_distribution_distance_is_that_of_the_shrunk_covariance() -> None:
    """Standardizing the channels first changes only the target of the shrinkage."""
    training, new = gaussian(300, 5, 1), gaussian(20, 5, 2) * 2
    fitted = fit_distribution(training, gaussian(100, 5, 3), 95.0)
    deviation, centered = training.std(axis=0), training - training.mean(axis=0)
    covariance = LedoitWolf(assume_centered=True).fit(centered / deviation).covariance_ * np.outer(deviation, deviation)
    away = new - training.mean(axis=0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", away, np.linalg.inv(covariance), away))
    np.testing.assert_allclose(fitted.distances(new), expected, rtol=1e-3)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-50, 50), channels=st.integers(1, 8))
def test_fit_distribution_distances_do_not_depend_on_units(scale: float, shift: float, channels: int) -> None:
    training, held_out = gaussian(60, channels, 1), gaussian(40, channels, 2)
    one = fit_distribution(training, held_out, 90.0)
    other = fit_distribution(training * scale + shift, held_out * scale + shift, 90.0)
    np.testing.assert_allclose(other.distances(held_out * scale + shift), one.distances(held_out), rtol=0.02)


def test_fit_distribution_flags_share_of_validation_and_distant_images() -> None:
    training, held_out = gaussian(2000, 6, 1), gaussian(1000, 6, 2)
    fitted = fit_distribution(training, held_out, 99.0)
    assert int((fitted.distances(held_out).numpy() > fitted.threshold).sum()) == 10
    other = (fitted.distances(gaussian(1000, 6, 3)).numpy() > fitted.threshold).mean()
    assert 0.002 <= other <= 0.03
    assert (fitted.distances(gaussian(100, 6, 4) + 200).numpy() > fitted.threshold).all()


def test_fit_distribution_with_fewer_images_than_channels_is_finite() -> None:
    """Constant channels, and more channels than images: the covariance alone could not be inverted."""
    training = np.concatenate([gaussian(20, 30, 1), np.zeros((20, 3), "float32")], axis=1)
    fitted = fit_distribution(training, training, 95.0)
    distances = fitted.distances(np.concatenate([training, training + 1]))
    assert np.isfinite(distances).all()
    constant = fit_distribution(np.ones((5, 2), "float32"), np.ones((5, 2), "float32"), 95.0)
    assert constant.distances(np.ones((1, 2), "float32")).numpy().tolist() == [0.0]


def test_draw_fitted_takes_all_or_a_repeatable_sample() -> None:
    assert draw_fitted(4, 0).tolist() == [0, 1, 2, 3]
    drawn = draw_fitted(MAX_FITTED + 500, 7)
    assert len(set(drawn.tolist())) == MAX_FITTED
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, draw_fitted(MAX_FITTED + 500, 7))


def test_read_distribution_returns_what_was_written(tmp_path: Path) -> None:
    assert FeatureDistribution.read(tmp_path) is None
    fitted = fit_distribution(gaussian(50, 4, 1), gaussian(30, 4, 2), 95.0)
    fitted.write(tmp_path)
    read = FeatureDistribution.read(tmp_path)
    assert read is not None
    assert (read.threshold, read.percentile) == (fitted.threshold, 95.0)
    np.testing.assert_array_equal(read.distances(gaussian(9, 4, 3)), fitted.distances(gaussian(9, 4, 3)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken"])
def test_read_malformed_distribution_raises(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "out_of_distribution.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"out_of_distribution\.npz must hold the arrays mean, whitening"):
        FeatureDistribution.read(tmp_path)


def test_export_saved_model_with_distribution_serves_distance_without_package(tmp_path: Path) -> None:
    """In a process with TensorFlow alone; the probabilities are those of a version without the flag."""
    network = artifact.load_model(small_network(tmp_path / "model", SIZE, ("Mass", "Nodule")))
    images = np.stack([noise(SIZE, seed=number) for number in range(12)])[..., None]
    features = np.asarray(keras.Model(network.inputs, network.get_layer("pooled").output)(images, training=False))
    fitted = fit_distribution(features, features[:6], 50.0)
    spec = dataclasses.replace(ModelSpec.read(tmp_path / "model"), ood_threshold=fitted.threshold)
    artifact.export_saved_model(network, spec, tmp_path / "flagged", fitted)
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for file, image in zip(files, images, strict=False):
        file.write_bytes(encode(image[..., 0]))
    served = subprocess.run(
        [sys.executable, "-c", FLAGGED, str(tmp_path / "flagged"), *map(str, files)], capture_output=True, check=True
    )
    answer = json.loads(served.stdout)
    assert sorted(answer) == ["is_out_of_distribution", "ood_distance", "probabilities"]
    np.testing.assert_allclose(answer["ood_distance"], fitted.distances(features[:6]), rtol=1e-4)
    assert sum(answer["is_out_of_distribution"]) == 3
    np.testing.assert_allclose(answer["probabilities"], network(images[:6], training=False), atol=1e-6)
    serve = tf.saved_model.load(str(tmp_path / "flagged")).signatures[IMAGES_SIGNATURE]
    again = serve(**{IMAGES_SIGNATURE: tf.constant(images[:6].astype("float32"))})
    np.testing.assert_allclose(again["ood_distance"], answer["ood_distance"], rtol=1e-5)


def test_export_saved_model_with_class_map_measures_mean_features(tmp_path: Path) -> None:
    """The first layer of such a head returns the activation at each position."""
    image = keras.Input((SIZE, SIZE, 1), dtype="uint8", name="picture")
    scaled = keras.layers.Rescaling(1 / 255, name="normalised")(image)
    backbone = keras.Model(image, keras.layers.Conv2D(4, 3, strides=4, name="conv")(scaled), name="net")
    shape = tuple(backbone.output.shape[1:])
    options = {"dense_units": 0, "dropout": 0.5, "l2": 0.0, "seed": 0}
    classifier = build_class_map_classifier(shape, 2, MapPooling("lse"), **options)
    network = attach_classifier(backbone, classifier)
    images = np.stack([noise(SIZE, seed=number) for number in range(12)])[..., None]
    features = np.asarray(backbone(images)).mean(axis=(1, 2))
    fitted = fit_distribution(features, features, 50.0)
    tensors = TensorNames(pooling="classifier_dropout", class_map="class_map")
    spec = ModelSpec(SIZE, ("a", "b"), "densenet121", "none", "", "fine_tuning", tensors=tensors, pooling="lse")
    spec = dataclasses.replace(spec, ood_threshold=fitted.threshold)
    artifact.export_saved_model(network, spec, tmp_path / "saved", fitted)
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures[IMAGES_SIGNATURE]
    answer = serve(**{IMAGES_SIGNATURE: tf.constant(images.astype("float32"))})
    np.testing.assert_allclose(answer["ood_distance"], fitted.distances(features), rtol=1e-4)
    assert int(answer["is_out_of_distribution"].numpy().sum()) == 6


def test_spec_with_flag_names_its_outputs(tmp_path: Path) -> None:
    spec = ModelSpec(32, ("Mass",), "densenet121", "none", "bn", "fine_tuning")
    assert list(spec.outputs) == ["probabilities"]
    dataclasses.replace(spec, ood_threshold=12.5).write(tmp_path)
    written = json.loads((tmp_path / "contract.json").read_text())["outputs"]
    assert {name: (info["dtype"], info["shape"]) for name, info in written.items()} == {
        "probabilities": ("float32", [None, 1]),
        "ood_distance": ("float32", [None]),
        "is_out_of_distribution": ("bool", [None]),
    }
    assert ModelSpec.read(tmp_path).ood_threshold == 12.5
