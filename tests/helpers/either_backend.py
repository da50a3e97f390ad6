"""Computes outputs, features and losses of networks with given weights on the current Keras backend.

`python -m tests.helpers.either_backend FOLDER` does so in a separate process, on KERAS_BACKEND.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

from radiograft.backbones import get_backbone
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import build_tap_model, unfreeze_from
from radiograft.models.graph_split import pool_before_concat, split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor

SIZE = 32
CUT_OFFS = {"densenet121": "conv5_block16_2_conv", "efficientnet_lite0": "block7a_project_conv"}
EPOCHS = 3


def build(name: str) -> tuple[keras.Model, keras.Model]:
    """Builds a backbone with random weights, and a network that adds a classifier to the same layers."""
    backbone = build_backbone(name, "none", "", SIZE)
    features = build_feature_extractor(backbone)
    width = features.output.shape[-1]
    return backbone, attach_classifier(
        features, build_classifier(width, 2, dense_units=8, dropout=0.0, l2=1e-4, seed=0)
    )


def measure(name: str, weights: Path) -> dict[str, np.ndarray]:
    """Returns the results of public functions as arrays."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, SIZE, SIZE, 1), dtype="uint8")
    truth = random.integers(0, 2, (6, 2)).astype("float32")
    backbone, network = build(name)
    network.load_weights(weights)
    trained = unfreeze_from(network, CUT_OFFS[name])
    cut = split_model(pool_before_concat(network), CUT_OFFS[name])
    parts = cut.prefix.predict(images, verbose=0)
    taps = build_tap_model(backbone, get_backbone(name).taps).predict(images, verbose=0)
    whole = network.predict(images, verbose=0)
    halves = cut.suffix.predict(parts, verbose=0)
    cut.suffix.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    fitted = cut.suffix.fit(parts, truth, batch_size=2, epochs=EPOCHS, shuffle=False, verbose=0)
    return {
        "trained": np.array(trained),
        "whole": whole,
        "halves": halves,
        "taps": taps,
        "losses": np.array(fitted.history["loss"]),
        "halves_after": cut.suffix.predict(parts, verbose=0),
        "whole_after": network.predict(images, verbose=0),
        "backend": np.array(keras.backend.backend()),
    }


def write(folder: Path) -> None:
    """Loads FOLDER/NAME.weights.h5 for each network and writes its results to FOLDER/NAME.npz."""
    for name in CUT_OFFS:
        np.savez(folder / f"{name}.npz", **measure(name, folder / f"{name}.weights.h5"))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
