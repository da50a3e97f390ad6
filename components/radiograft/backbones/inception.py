"""InceptionV3 (Szegedy et al. 2016) from keras.applications."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from radiograft.backbones.spec import MINUS_ONE_TO_ONE, BackboneSpec, keras_file_help

if TYPE_CHECKING:
    import keras

_BLOCKS = tuple(f"mixed{number}" for number in range(11))


def inception_v3(**arguments: Any) -> keras.Model:
    """Builds InceptionV3; takes the arguments of `keras.applications.InceptionV3`.

    Keras numbers most layers by a counter of the process. Here they have the numbers of a new process, so that the name
    of a cut-off always means the same layer.
    """
    import keras

    network = keras.applications.InceptionV3(**arguments)
    names = _names_of_new_process([layer.name for layer in network.layers])
    copy = keras.models.clone_model(
        network,
        clone_function=lambda layer: type(layer).from_config(
            {**layer.get_config(), "name": names.get(layer.name, layer.name)}
        ),
    )
    copy.set_weights(network.get_weights())
    return copy


def _names_of_new_process(names: list[str]) -> dict[str, str]:
    """Returns the new name of each layer that Keras named after its class and a counter.

    Example:
        >>> _names_of_new_process(["conv2d_9", "mixed0", "conv2d_7"])
        {'conv2d_7': 'conv2d', 'conv2d_9': 'conv2d_1'}
    """
    kinds = ("conv2d", "batch_normalization", "activation", "max_pooling2d", "average_pooling2d", "concatenate")
    numbers: dict[str, list[int]] = defaultdict(list)
    for name in names:
        kind, _, number = name.rpartition("_") if name not in kinds else (name, "", "0")
        if kind in kinds and number.isdigit():
            numbers[kind].append(int(number))
    return {
        _numbered(kind, number): _numbered(kind, new)
        for kind, used in numbers.items()
        for new, number in enumerate(sorted(used))
    }


def _numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


BACKBONES = (
    BackboneSpec(
        name="inception_v3",
        build=inception_v3,
        normalization=MINUS_ONE_TO_ONE,
        cut_offs=("conv2d", "conv2d_1", "conv2d_2", "conv2d_3", "conv2d_4", *_BLOCKS[:-1]),
        default_cut_off="mixed9",
        taps=("max_pooling2d", "max_pooling2d_1", *_BLOCKS),
        min_size=80,
        stride=16,
        weights_help=keras_file_help(
            "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5", "bcbd6486424b2319ff4ef7d526e38f63"
        ),
    ),
)
