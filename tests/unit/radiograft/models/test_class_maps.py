"""Heads that pool a class map: literal values of each pooling, its laws, and networks with such a head."""

from __future__ import annotations

import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from radiograft.config.network import MapPooling
from radiograft.models import artifact
from radiograft.models.class_maps import (
    ClassMapPooling,
    build_class_map_classifier,
    build_self_transfer_classifier,
    localization_scores,
)
from radiograft.models.heads import attach_classifier, build_classifier, cast_to_policy
from radiograft.models.spec import DEFAULT_NAMES, ModelSpec, TensorNames

KINDS = ("max", "lse", "lse_lba", "noisy_or", "csra")
FACTS = {"image_size": 32, "labels": ("a", "b"), "backbone": "densenet121", "weights": "none", "cut_off": ""}
maps = arrays("float32", (1, 2, 3, 1), elements=st.floats(-30, 30, width=32))


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def pooled(kind: str, values: object, sharpness: float = 1.0, attention: float = 0.0) -> float:
    """Pools the logits of one label at positions in a row."""
    grid = np.reshape(np.asarray(values, "float32"), (1, 1, -1, 1))
    return float(ClassMapPooling(kind, sharpness, attention)(grid)[0, 0])


def probability(kind: str, values: object) -> float:
    return float(keras.ops.sigmoid(pooled(kind, values)))


def test_noisy_or_of_two_halves_is_three_quarters() -> None:
    assert probability("noisy_or", [logit(0.5), logit(0.5)]) == pytest.approx(0.75)
    assert probability("noisy_or", [logit(0.1), logit(0.2), logit(0.3)]) == pytest.approx(1 - 0.9 * 0.8 * 0.7)


@pytest.mark.parametrize(("value", "expected"), [(-40.0, -40 + math.log(49)), (-80.0, -69.078), (40.0, 49 * 40.0)])
def test_noisy_or_of_certain_positions_stays_finite(value: float, expected: float) -> None:
    assert pooled("noisy_or", [value] * 49) == pytest.approx(expected, rel=1e-3)


def test_noisy_or_gradient_of_certain_positions_is_finite() -> None:
    logits = tf.Variable(np.reshape(np.array([-100, -40, 0, 40, 100] * 3, "float32"), (3, 1, 5, 1)))
    with tf.GradientTape() as tape:
        loss = -tf.reduce_sum(tf.math.log(tf.clip_by_value(tf.sigmoid(ClassMapPooling("noisy_or")(logits)), 1e-7, 1)))
    assert np.isfinite(tape.gradient(loss, logits)).all()


def test_log_sum_exp_worked_example() -> None:
    assert pooled("lse", [0.0, math.log(3)], sharpness=1.0) == pytest.approx(math.log(2))
    assert pooled("lse", [0.0, math.log(3) / 2], sharpness=2.0) == pytest.approx(math.log(2) / 2)


@given(maps)
@settings(max_examples=50, deadline=None)
def test_log_sum_exp_is_mean_for_small_r_and_maximum_for_large_r(values: np.ndarray) -> None:
    assert pooled("lse", values, sharpness=1e-6) == pytest.approx(values.mean(), abs=1e-3)
    assert pooled("lse", values, sharpness=1e5) == pytest.approx(values.max(), abs=1e-3)
    assert values.mean() - 1e-3 <= pooled("lse", values, sharpness=2.0) <= values.max() + 1e-3


@given(maps, st.sampled_from(KINDS), st.floats(0, 5))
@settings(max_examples=50, deadline=None)
def test_pooling_ignores_order_of_positions_and_grows_with_evidence(
    values: np.ndarray, kind: str, shift: float
) -> None:
    base = pooled(kind, values, attention=0.5)
    assert pooled(kind, values[:, ::-1, ::-1], attention=0.5) == pytest.approx(base, abs=1e-3)
    assert pooled(kind, values + np.float32(shift), attention=0.5) >= base - 1e-3


def test_adapted_log_sum_exp_starts_one_above_its_lower_bound_and_learns_r_of_each_label() -> None:
    layer = ClassMapPooling("lse_lba", sharpness=4.0)
    values = np.random.default_rng(0).normal(size=(2, 3, 3, 2)).astype("float32")
    np.testing.assert_allclose(layer(values), ClassMapPooling("lse", 5.0)(values), rtol=1e-5)
    layer.set_weights([np.log([2.0, 6.0])])
    np.testing.assert_allclose(layer(values)[:, 0], ClassMapPooling("lse", 6.0)(values)[:, 0], rtol=1e-5)
    np.testing.assert_allclose(layer(values)[:, 1], ClassMapPooling("lse", 10.0)(values)[:, 1], rtol=1e-5)


def test_residual_attention_worked_example() -> None:
    """Softmax of (0, log 3) is (1/4, 3/4): mean log(3) / 2 plus lambda times 3/4 log 3."""
    expected = math.log(3) / 2 + 0.2 * 0.75 * math.log(3)
    assert pooled("csra", [0.0, math.log(3)], attention=0.2) == pytest.approx(expected)
    assert pooled("csra", [1.0, 5.0], attention=0.0) == pytest.approx(3.0)


def head(kind: str, dense_units: int = 3, positions: int = 4, dropout: float = 0.5) -> keras.Model:
    pooling = MapPooling(kind, 5.0, 0.3)
    shape = (positions, positions, 6)
    build = build_self_transfer_classifier if kind == "self_transfer" else build_class_map_classifier
    return build(shape, 2, pooling, dense_units=dense_units, dropout=dropout, l2=1e-4, seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_class_map_classifier_starts_undecided(kind: str) -> None:
    """With the bias of the other heads, noisy-or over 256 positions would start at a probability of 1."""
    scores = head(kind, positions=16)(np.zeros((1, 16, 16, 6), "float32"))
    np.testing.assert_allclose(scores, 0.5, atol=1e-5)


def test_residual_attention_without_attention_is_average_pooling() -> None:
    """A linear classifier commutes with the mean over the positions, also under dropout of whole channels."""
    pooling = MapPooling("csra", attention=0.0)
    options = {"dense_units": 0, "dropout": 0.5, "l2": 1e-4, "seed": 3}
    over_map = build_class_map_classifier((4, 4, 6), 2, pooling, **options)  # type: ignore[arg-type]
    over_mean = build_classifier(6, 2, **options)  # type: ignore[arg-type]
    kernel, bias = over_mean.get_weights()
    over_map.set_weights([kernel[None, None], bias])
    activation = np.random.default_rng(0).normal(size=(3, 4, 4, 6)).astype("float32")
    np.testing.assert_allclose(over_map(activation), over_mean(activation.mean(axis=(1, 2))), atol=1e-6)


def network(kind: str) -> keras.Model:
    images = keras.Input((32, 32, 1), dtype="uint8", name="picture")
    scaled = keras.layers.Rescaling(1 / 255, name="normalised")(images)
    last = keras.layers.Conv2D(6, 8, strides=8, activation="relu", name="last")(scaled)
    return attach_classifier(keras.Model(images, last, name="small_features"), head(kind))


@pytest.mark.parametrize("kind", [*KINDS, "self_transfer"])
def test_network_with_class_map_survives_saving_in_safe_mode(kind: str, tmp_path: Path) -> None:
    model = network(kind)
    model.get_layer("class_map_pooled").set_weights(
        [np.array([0.5, 2.0]) for _ in model.get_layer("class_map_pooled").weights]
    )
    names = TensorNames(pooling="classifier_dense", class_map="class_map")
    spec = ModelSpec(**FACTS, strategy="feature_extraction", tensors=names, pooling=kind)  # type: ignore[arg-type]
    artifact.save_model(tmp_path, model, spec, {})
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), dtype="uint8")
    np.testing.assert_array_equal(artifact.load_model(tmp_path)(images), model(images))
    assert ModelSpec.read(tmp_path) == spec


def test_spec_of_average_pooling_is_written_as_by_older_versions(tmp_path: Path) -> None:
    spec = ModelSpec(**FACTS, strategy="fine_tuning")  # type: ignore[arg-type]
    spec.write(tmp_path)
    written = json.loads((tmp_path / "contract.json").read_text())
    assert not {"pooling", "branches", "covariates", "lateral", "ood_threshold", "scales"} & set(written)
    assert list(written["tensors"]) == ["image", "normalized", "pooling", "probabilities"]
    assert ModelSpec.read(tmp_path) == spec
    assert (spec.tensors, spec.pooling) == (DEFAULT_NAMES, "average")


def test_build_class_map_classifier_average_raises() -> None:
    with pytest.raises(ValueError, match="must not be 'average': use build_classifier"):
        head("average")


def test_cast_to_policy_keeps_class_map_and_its_pooling_in_float32() -> None:
    model = network("lse_lba")
    model.get_layer("class_map_pooled").set_weights([np.array([0.5, 2.0])])
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        copy = cast_to_policy(model, TensorNames(pooling="classifier_dense", class_map="class_map"))
    finally:
        keras.config.set_dtype_policy("float32")
    dtypes = {layer.name: layer.compute_dtype for layer in copy.layers[1:]}
    half = dict.fromkeys(("last", "classifier_dense", "classifier_dropout"), "bfloat16")
    single = dict.fromkeys(("normalised", "class_map", "class_map_pooled", "probabilities"), "float32")
    assert dtypes == {**half, **single}
    np.testing.assert_allclose(copy.get_layer("class_map_pooled").exponents, [0.5, 2.0])


def test_two_heads_share_the_activation_and_the_first_is_served() -> None:
    """The classification head is that of average pooling; the localization head takes the largest logit of its map."""
    model = network("self_transfer")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), dtype="uint8")
    both = keras.Model(model.input, [model.output, localization_scores(model), model.get_layer("last").output])
    served, localized, activation = (part.numpy() for part in both(images))
    over_mean = build_classifier(6, 2, dense_units=3, dropout=0.5, l2=1e-4, seed=1)
    over_mean.set_weights(
        [*model.get_layer("classifier_dense").get_weights(), *model.get_layer("classifier_logits").get_weights()]
    )
    np.testing.assert_allclose(served, over_mean(activation.mean(axis=(1, 2))), atol=1e-6)
    kernel, bias = model.get_layer("class_map").get_weights()
    largest = (activation @ kernel[0, 0] + bias).max(axis=(1, 2))
    np.testing.assert_allclose(localized, 1 / (1 + np.exp(-largest)), atol=1e-6)
