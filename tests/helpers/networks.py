"""Complete networks on three backbones, each built once, for tests that split them at random layers."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from hypothesis import strategies as st

from radiograft.models.backbone import build_backbone
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor

every_backbone = pytest.mark.parametrize("name", ["densenet121", "efficientnet_lite0", "resnet50"])
shares = st.floats(0, 1, exclude_max=True)  # relative position of a random choice in a list

SIZE = 32
HEAD = ("classifier_dense", "classifier_dropout", "probabilities")
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 1), dtype="uint8")


def whole(backbone: keras.Model) -> keras.Model:
    features = build_feature_extractor(backbone)
    classifier = build_classifier(features.output.shape[-1], 2, dense_units=8, dropout=0.0, l2=0.0, seed=0)
    return attach_classifier(features, classifier)


def freeze_normalization(model: keras.Model) -> None:
    for layer in model.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)


@functools.cache
def network(name: str) -> keras.Model:
    model = whole(build_backbone(name, "none", "", SIZE))
    freeze_normalization(model)
    return model


def outputs(model: keras.Model, inputs: object) -> list[np.ndarray]:
    """Calls a model eagerly and returns its outputs as a list."""
    result = model(inputs, training=False)
    return [np.asarray(part) for part in (result if isinstance(result, list | tuple) else [result])]


def inner_layers(model: keras.Model) -> list[str]:
    """Returns the names of all layers except the inputs, in topological order."""
    return [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
