"""The GPU workloads: a network and a batch on the device, four steps on them, and their arithmetic."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from radiograft.backbones import get_backbone
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.graph import downstream_layers
from radiograft.models.graph_split import pool_before_concat, split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from tests.benchmarks.gpu_steps import Step, forward_step, training_step

LABELS = 14
CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


@dataclasses.dataclass(frozen=True)
class Scale:
    """Size of the benchmark: image side in pixels, batch size, rows of the square matrices, seconds per window."""

    backbone: str
    side: int
    batch_size: int
    matrix: int
    window: float


FULL = Scale("densenet121", side=224, batch_size=256, matrix=8192, window=1.0)
TINY = Scale("efficientnet_lite0", side=32, batch_size=2, matrix=64, window=0.01)


class Subject:
    """A network with random weights and one batch of random images, both on the device."""

    def __init__(self, scale: Scale) -> None:
        self.scale, self.cut_off = scale, get_backbone(scale.backbone).default_cut_off
        features = build_feature_extractor(build_backbone(scale.backbone, "none", "", scale.side))
        width = features.output.shape[-1]
        self.network = attach_classifier(
            features, build_classifier(width, LABELS, dense_units=256, dropout=0.5, l2=1e-4, seed=0)
        )
        self.gflop = gflop(self.network, {layer.name for layer in self.network.layers})
        self.gflop_trainable = gflop(self.network, downstream_layers(self.network, self.cut_off))
        random, shape = np.random.default_rng(0), (scale.batch_size, scale.side, scale.side, 1)
        self.images = keras.ops.convert_to_tensor(random.integers(0, 256, shape, dtype="uint8"))
        truth = random.integers(0, 2, (scale.batch_size, LABELS))
        self.truth = keras.ops.convert_to_tensor(truth.astype("float32"))

    def forward(self) -> Step:
        return forward_step(self.network, self.images)

    def cached(self) -> Step:
        unfreeze_from(self.network, self.cut_off)
        cut = split_model(pool_before_concat(self.network), self.cut_off)
        frontier = keras.tree.flatten(forward_step(cut.prefix, self.images)())
        activations = [keras.ops.cast(part, "float16") for part in frontier]
        return self._training(cut.suffix, activations)

    def online(self) -> Step:
        unfreeze_from(self.network, self.cut_off)
        return self._training(self.network, self.images)

    def training(self) -> Step:
        self.network.trainable = True
        return self._training(self.network, self.images)

    def _training(self, model: keras.Model, inputs: Any) -> Step:
        model.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy")
        return training_step(model, inputs, self.truth)


@dataclasses.dataclass(frozen=True)
class Work:
    """A workload: how to start it, its arithmetic (GFLOP per image), and a description."""

    start: Callable[[Subject], Step]
    gflop: Callable[[Subject], float]
    how: str


WORKS = {
    "forward": Work(Subject.forward, lambda subject: subject.gflop, "inference"),
    "cached": Work(
        Subject.cached,
        lambda subject: 3 * subject.gflop_trainable,
        "training step of the layers from the cut-off, on cached float16 activations; counted as three of their "
        "forward passes",
    ),
    "online": Work(
        Subject.online,
        lambda subject: subject.gflop + 2 * subject.gflop_trainable,
        "training step of the layers from the cut-off, on images in device memory, without decoding and augmentation; "
        "counted as one forward pass of the whole network and two of the trained layers",
    ),
    "training": Work(
        Subject.training,
        lambda subject: 3 * subject.gflop,
        "training step of all layers, including batch normalization; counted as three forward passes",
    ),
}


def gflop(network: keras.Model, names: set[str]) -> float:
    """Returns the GFLOP of one image's forward pass through the named layers.

    Counts convolutions and dense layers, two operations per multiply-add. Other layers add about 1%.
    """
    multiply_adds = 0
    for layer in network.layers:
        if layer.name in names and isinstance(layer, (*CONVOLUTIONS, keras.layers.Dense)):
            positions = layer.output.shape[1:-1] if isinstance(layer, CONVOLUTIONS) else ()
            multiply_adds += math.prod(layer.kernel.shape) * math.prod(positions)
    return 2e-9 * multiply_adds
