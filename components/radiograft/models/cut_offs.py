"""Where fine-tuning may begin: the candidates of `model_cut_off=auto`, and what a setting with several names means."""

from __future__ import annotations

import itertools

import keras

from radiograft.config import AUTO_CUT_OFF, split_cut_offs
from radiograft.models.feature_taps import BLOCK
from radiograft.models.freezing import last_convolution, trainable_layers
from radiograft.models.graph import downstream_layers

MAX_CANDIDATES = 16


def candidate_cut_offs(network: keras.Model) -> list[str]:
    """Candidate cut-offs, from the input towards the output: each block's first layer with weights to train, and the
    last convolution, which for DenseNet-121 is the poster's cut-off. Of more than MOST_CANDIDATES the last ones.

    The network may have its classifier or not.
    """
    first_of_block: dict[str, str] = {}
    for layer in network.layers:
        match = BLOCK.match(layer.name)
        if match and layer.weights and not isinstance(layer, keras.layers.BatchNormalization):
            first_of_block.setdefault(match[1], layer.name)
    names = {*first_of_block.values(), last_convolution(network)}
    return [layer.name for layer in network.layers if layer.name in names][-MAX_CANDIDATES:]


def parse_cut_offs(text: str, network: keras.Model) -> list[str]:
    """Reads `model_cut_off`: `auto`, a layer's name, or several with commas between them.

    Returns:
        Layer names from the input towards the output. What is trained from one holds all that is trained from the next.

    Raises:
        ValueError: a name is no layer (the nearest are given), stands there twice or leaves nothing of the backbone to
            train, or one of two neighbors is not computed from the other.
    """
    names = candidate_cut_offs(network) if text == AUTO_CUT_OFF else split_cut_offs(text)
    for name in names:
        trainable_layers(network, name)
    found = [layer.name for layer in network.layers if layer.name in names]
    for shallower, deeper in itertools.pairwise(found):
        if deeper not in downstream_layers(network, shallower):
            raise ValueError(
                "model_cut_off must name layers each of which is computed from the one before, "
                f"got {deeper!r} in another branch than {shallower!r}"
            )
    return found
