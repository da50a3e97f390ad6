"""The optimizer: each layer at its own rate, gradients no longer than asked for, weights averaged."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config.recipe import Recipe
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.early_pooling import pool_before_concat
from radiograft.models.graph_split import split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.training.optimizers import OPTIMIZERS, build_optimizer, layerwise_rates, use_ema_weights
from tests.helpers.networks import HEAD

RATE = 0.1
Gradients = list[np.ndarray]


def fine_tuned(backbone: str, cut_off: str) -> keras.Model:
    """What is trained behind a cut-off, as fine-tuning splits it."""
    features = build_feature_extractor(build_backbone(backbone, "none", "", 32))
    head = build_classifier(features.output.shape[-1], 2, dense_units=4, dropout=0.5, l2=0.0, seed=0)
    model = attach_classifier(features, head)
    unfreeze_from(model, cut_off)
    return split_model(pool_before_concat(model), cut_off).suffix


def chain() -> keras.Model:
    """Three layers of a backbone and the classifier."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    outputs = inputs
    for name in ("first", "second", "third"):
        outputs = keras.layers.Dense(4, name=name)(outputs)
    features = keras.Model(inputs, outputs, name="chain_features")
    return attach_classifier(features, build_classifier(4, 1, dense_units=3, dropout=0.0, l2=0.0, seed=0))


def step(model: keras.Model, optimizer: keras.optimizers.Optimizer, gradients: Gradients) -> Gradients:
    """By how much one step with these gradients moves the weights."""
    before = [weight.numpy() for weight in model.trainable_variables]
    optimizer.learning_rate = RATE
    optimizer.apply([tf.constant(gradient) for gradient in gradients], model.trainable_variables)
    return [weight.numpy() - old for weight, old in zip(model.trainable_variables, before, strict=True)]


def like(model: keras.Model, seed: int | None = None) -> Gradients:
    """A gradient for each weight: ones, or numbers of a seed."""
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
    def test_a_factor_for_each_layer_from_the_classifier_back(
        self, backbone: str, cut_off: str, expected: dict[str, float]
    ) -> None:
        model = fine_tuned(backbone, cut_off)
        names = [weight.path.split("/")[-2] for weight in model.trainable_variables]
        assert dict(zip(names, layerwise_rates(model, 0.5, HEAD), strict=True)) == expected
        assert set(layerwise_rates(model, 1.0)) == {1.0}

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_a_step_moves_each_layer_by_its_factor(self, name: str) -> None:
        decayed, plain = chain(), chain()
        moved = step(decayed, build_optimizer(name, Recipe(layer_decay=0.5), decayed, HEAD), like(decayed))
        whole = step(plain, build_optimizer(name, Recipe(), plain), like(plain))
        factors = [0.125, 0.125, 0.25, 0.25, 0.5, 0.5, 1, 1, 1, 1]  # kernel and bias of each layer
        if name == "adamw":  # whose decay of the weights keeps the common rate
            decay = [-RATE * 0.004 * weight.numpy() for weight in chain().trainable_variables]
            moved, whole = ([a - b for a, b in zip(found, decay, strict=True)] for found in (moved, whole))
        for mine, common, factor in zip(moved, whole, factors, strict=True):
            np.testing.assert_allclose(mine, factor * common, rtol=2e-3, atol=1e-7)
            assert np.abs(common).min() > 0.01

    def test_sgd_moves_by_rate_times_gradient(self) -> None:
        model = chain()
        moved = step(model, build_optimizer("sgd", Recipe(), model), like(model))
        np.testing.assert_allclose(np.concatenate([part.ravel() for part in moved]), -RATE, rtol=1e-4)


class TestClipping:
    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 999), largest=st.floats(0.1, 100))
    def test_a_step_is_bounded_and_keeps_its_direction(self, seed: int, largest: float) -> None:
        model = chain()
        gradients = like(model, seed)
        moved = step(model, build_optimizer("sgd", Recipe(clip_norm=largest), model), gradients)
        assert norm(moved) == pytest.approx(RATE * min(norm(gradients), largest), rel=1e-3)
        share = norm(moved) / norm(gradients)
        for mine, gradient in zip(moved, gradients, strict=True):
            np.testing.assert_allclose(mine, -share * gradient, rtol=1e-2, atol=1e-5)

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_it_is_keras_global_clipnorm_on_one_device(self, name: str) -> None:
        mine, theirs = chain(), chain()
        options = {"momentum": 0.9} if name == "sgd" else {}
        keras_own = OPTIMIZERS[name](RATE, global_clipnorm=0.7, **options)
        keras_own.build(theirs.trainable_variables)
        optimizer = build_optimizer(name, Recipe(clip_norm=0.7), mine)
        for seed in range(3):
            moved = step(mine, optimizer, like(mine, seed))
            for one, other in zip(moved, step(theirs, keras_own, like(theirs, seed)), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


class TestAverage:
    def test_weights_are_judged_averaged_and_trained_on_as_they_are(self) -> None:
        recipe, model = Recipe(ema=0.75), chain()
        model.compile(build_optimizer("sgd", recipe, model))
        expected: Gradients = []
        for seed in range(4):
            step(model, model.optimizer, like(model, seed))
            weights = [weight.numpy() for weight in model.trainable_variables]
            pairs = zip(expected, weights, strict=True)
            expected = [0.75 * mean + 0.25 * new for mean, new in pairs] if expected else weights  # the first as it is
        with use_ema_weights(model, recipe):
            for weight, mean in zip(model.trainable_variables, expected, strict=True):
                np.testing.assert_allclose(weight, mean, rtol=1e-5, atol=1e-7)
        for weight, own in zip(model.trainable_variables, weights, strict=True):
            np.testing.assert_array_equal(weight, own)

    def test_without_an_average_nothing_changes(self) -> None:
        model = chain()
        model.compile(build_optimizer("adam", Recipe(), model))
        step(model, model.optimizer, like(model, 0))
        weights = [weight.numpy() for weight in model.trainable_variables]
        with use_ema_weights(model, Recipe()):
            for weight, own in zip(model.trainable_variables, weights, strict=True):
                np.testing.assert_array_equal(weight, own)
