"""Complete networks on three backbones, each built once, for tests that split them at random layers."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from hypothesis import strategies as st

from radiograft.backbones import BackboneSpec, get_backbone
from radiograft.backbones.spec import IMAGENET
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


RESNET50 = BackboneSpec(  # not one of ours: the cut is a matter of the graph, not of a list of names
    name="resnet50",
    build=keras.applications.ResNet50,
    normalization=IMAGENET,
    cut_offs=tuple(
        f"conv{stage}_block{block}_1_conv"
        for stage, blocks in {2: 3, 3: 4, 4: 6, 5: 3}.items()
        for block in range(1, blocks + 1)
    ),
    default_cut_off="conv5_block3_3_conv",
    taps=tuple(
        f"conv{stage}_block{block}_out"
        for stage, blocks in {2: 3, 3: 4, 4: 6, 5: 3}.items()
        for block in range(1, blocks + 1)
    ),
    min_size=32,
    stride=32,
    weights_help="",
)


def spec(name: str) -> BackboneSpec:
    return RESNET50 if name == "resnet50" else get_backbone(name)


@functools.cache
def network(name: str) -> keras.Model:
    if name == "resnet50":  # not a registered backbone: splitting depends only on the graph
        gray = keras.Input((SIZE, SIZE, 1))
        color = keras.layers.Concatenate()([gray, gray, gray])
        backbone = RESNET50.build(include_top=False, weights=None, input_tensor=color)
    else:
        backbone = build_backbone(name, "none", "", SIZE)
    model = whole(backbone)
    freeze_normalization(model)
    return model


def outputs(model: keras.Model, inputs: object) -> list[np.ndarray]:
    """Calls a model eagerly and returns its outputs as a list."""
    result = model(inputs, training=False)
    return [np.asarray(part) for part in (result if isinstance(result, list | tuple) else [result])]


def inner_layers(model: keras.Model) -> list[str]:
    """Returns the names of all layers except the inputs, in topological order."""
    return [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
