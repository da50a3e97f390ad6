"""Optimizers: layer-wise learning rates, gradient clipping and moving averages of weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config.training import Recipe
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.graph_split import pool_before_concat, split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.training.optimizers import OPTIMIZERS, build_optimizer, layerwise_rates, use_ema_weights
from tests.helpers.networks import HEAD

RATE = 0.1
KERAS_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
Gradients = list[np.ndarray]


def suffix(backbone: str, cut_off: str) -> keras.Model:
    """Returns the part of a network that fine-tuning from a cut-off trains."""
    features = build_feature_extractor(build_backbone(backbone, "none", "", 32))
    head = build_classifier(features.output.shape[-1], 2, dense_units=4, dropout=0.5, l2=0.0, seed=0)
    model = attach_classifier(features, head)
    unfreeze_from(model, cut_off)
    return split_model(pool_before_concat(model), cut_off).suffix


def chain() -> keras.Model:
    """Returns three layers of a backbone with a classifier."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    outputs = inputs
    for name in ("first", "second", "third"):
        outputs = keras.layers.Dense(4, name=name)(outputs)
    features = keras.Model(inputs, outputs, name="chain_features")
    return attach_classifier(features, build_classifier(4, 1, dense_units=3, dropout=0.0, l2=0.0, seed=0))


def step(model: keras.Model, optimizer: keras.optimizers.Optimizer, gradients: Gradients) -> Gradients:
    """Applies one step with these gradients and returns the change of each weight."""
    before = [weight.numpy() for weight in model.trainable_variables]
    optimizer.learning_rate = RATE
    optimizer.apply([tf.constant(gradient) for gradient in gradients], model.trainable_variables)
    return [weight.numpy() - old for weight, old in zip(model.trainable_variables, before, strict=True)]


def gradients_for(model: keras.Model, seed: int | None = None) -> Gradients:
    """Returns a gradient for each weight: ones, or random numbers from a seed."""
    shapes = [weight.shape for weight in model.trainable_variables]
    if seed is None:
        return [np.ones(shape, "float32") for shape in shapes]
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype("float32") for shape in shapes]


def norm(parts: Gradients) -> float:
    return float(np.sqrt(sum(np.square(part, dtype="float64").sum() for part in parts)))


class TestLayerDecay:
    @pytest.mark.parametrize(
        ("backbone", "cut_off", "expected"),
        [
            (
                "densenet121",
                "conv5_block15_2_conv",
                {
                    "conv5_block15_2_conv": 0.125,
                    "conv5_block16_1_conv": 0.25,
                    "conv5_block16_2_conv": 0.5,
                    "classifier_dense": 1.0,
                    "probabilities": 1.0,
                },
            ),
            (
                "efficientnet_lite0",
                "block7a_dwconv",
                {
                    "block7a_dwconv": 0.125,
                    "block7a_project_conv": 0.25,
                    "top_conv": 0.5,
                    "classifier_dense": 1.0,
                    "probabilities": 1.0,
                },
            ),
        ],
    )
    def test_layerwise_rates_decay_from_classifier_to_input(
        self, backbone: str, cut_off: str, expected: dict[str, float]
    ) -> None:
        model = suffix(backbone, cut_off)
        names = [weight.path.split("/")[-2] for weight in model.trainable_variables]
        assert dict(zip(names, layerwise_rates(model, 0.5, HEAD), strict=True)) == expected
        assert set(layerwise_rates(model, 1.0)) == {1.0}

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_layer_decay_scales_step_of_each_layer(self, name: str) -> None:
        decayed, plain = chain(), chain()
        moved = step(decayed, build_optimizer(name, Recipe(layer_decay=0.5), decayed, HEAD), gradients_for(decayed))
        whole = step(plain, build_optimizer(name, Recipe(), plain), gradients_for(plain))
        factors = [0.125, 0.125, 0.25, 0.25, 0.5, 0.5, 1, 1, 1, 1]  # kernel and bias of each layer
        if name == "adamw":  # its weight decay uses the common rate
            decay = [-RATE * 0.004 * weight.numpy() for weight in chain().trainable_variables]
            moved, whole = ([a - b for a, b in zip(changes, decay, strict=True)] for changes in (moved, whole))
        for decayed_change, plain_change, factor in zip(moved, whole, factors, strict=True):
            np.testing.assert_allclose(decayed_change, factor * plain_change, rtol=2e-3, atol=1e-7)
            assert np.abs(plain_change).min() > 0.01

    def test_sgd_step_is_rate_times_gradient(self) -> None:
        model = chain()
        moved = step(model, build_optimizer("sgd", Recipe(), model), gradients_for(model))
        np.testing.assert_allclose(np.concatenate([part.ravel() for part in moved]), -RATE, rtol=1e-4)


class TestClipping:
    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 999), largest=st.floats(0.1, 100))
    def test_clipped_step_has_bounded_norm_and_same_direction(self, seed: int, largest: float) -> None:
        model = chain()
        gradients = gradients_for(model, seed)
        moved = step(model, build_optimizer("sgd", Recipe(clip_norm=largest), model), gradients)
        assert norm(moved) == pytest.approx(RATE * min(norm(gradients), largest), rel=1e-3)
        share = norm(moved) / norm(gradients)
        for change, gradient in zip(moved, gradients, strict=True):
            np.testing.assert_allclose(change, -share * gradient, rtol=1e-2, atol=1e-5)

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_clipping_on_one_device_matches_keras(self, name: str) -> None:
        mine, theirs = chain(), chain()
        options = {"momentum": 0.9} if name == "sgd" else {}
        keras_own = KERAS_OPTIMIZERS[name](RATE, global_clipnorm=0.7, **options)
        keras_own.build(theirs.trainable_variables)
        optimizer = build_optimizer(name, Recipe(clip_norm=0.7), mine)
        for seed in range(3):
            moved = step(mine, optimizer, gradients_for(mine, seed))
            for one, other in zip(moved, step(theirs, keras_own, gradients_for(theirs, seed)), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


class TestAverage:
    def test_use_ema_weights_applies_within_context_only(self) -> None:
        recipe, model = Recipe(ema=0.75), chain()
        model.compile(build_optimizer("sgd", recipe, model))
        expected: Gradients = []
        for seed in range(4):
            step(model, model.optimizer, gradients_for(model, seed))
            weights = [weight.numpy() for weight in model.trainable_variables]
            pairs = zip(expected, weights, strict=True)
            expected = (
                [0.75 * mean + 0.25 * new for mean, new in pairs] if expected else weights
            )  # starts at the first weights
        with use_ema_weights(model, recipe):
            for weight, mean in zip(model.trainable_variables, expected, strict=True):
                np.testing.assert_allclose(weight, mean, rtol=1e-5, atol=1e-7)
        for weight, own in zip(model.trainable_variables, weights, strict=True):
            np.testing.assert_array_equal(weight, own)

    def test_use_ema_weights_without_ema_changes_nothing(self) -> None:
        model = chain()
        model.compile(build_optimizer("adam", Recipe(), model))
        step(model, model.optimizer, gradients_for(model, 0))
        weights = [weight.numpy() for weight in model.trainable_variables]
        with use_ema_weights(model, Recipe()):
            for weight, own in zip(model.trainable_variables, weights, strict=True):
                np.testing.assert_array_equal(weight, own)
