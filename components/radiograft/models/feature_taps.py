"""Feature taps: the pooled outputs of a backbone's blocks, all from one forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from radiograft.backbones import BackboneSpec
from radiograft.config.base import did_you_mean
from radiograft.models.keras_internals import input_tensors, producing_layer


def check_tap(backbone: BackboneSpec, name: str) -> None:
    """Raises an error if the feature layer is not one of the backbone's taps.

    Raises:
        ValueError: the message suggests similar names.
    """
    if name not in backbone.taps:
        raise ValueError(
            "model_feature_layer must be `auto`, `last` or a block's last layer, "
            f"got {name!r}{did_you_mean(name, backbone.taps)}"
        )


def build_tap_model(backbone: keras.Model, names: Sequence[str]) -> keras.Model:
    """Images to float32 [n, sum of channels]: the pooled outputs of the layers named, one after another."""
    known: dict[int, keras.KerasTensor] = {}
    pools = [_pool(backbone.get_layer(name).output, known) for name in names]
    features = keras.layers.Concatenate(dtype="float32", name="taps")(pools) if len(pools) > 1 else pools[0]
    return keras.Model(backbone.input, features, name=f"{backbone.name}_features")


def _pool(tensor: keras.KerasTensor, known: dict[int, keras.KerasTensor]) -> keras.KerasTensor:
    """A tensor's channels pooled. Of a concatenation's, each part is pooled but once: DenseNet hands on what it has."""
    if id(tensor) not in known:
        layer = producing_layer(tensor)
        if isinstance(layer, keras.layers.Concatenate) and layer.axis in (-1, len(tensor.shape) - 1):
            parts = [_pool(part, known) for part in input_tensors(tensor)]
            known[id(tensor)] = keras.layers.Concatenate(dtype="float32", name=f"{layer.name}_tap")(parts)
        else:
            pooling = keras.layers.GlobalAveragePooling2D(dtype="float32", name=f"{layer.name}_tap")
            known[id(tensor)] = pooling(tensor)
    return known[id(tensor)]


def tap_widths(backbone: keras.Model, names: Sequence[str]) -> list[int]:
    """Channels of the layers named, the widths of their parts in `tapped`'s output."""
    return [int(backbone.get_layer(name).output.shape[-1]) for name in names]
