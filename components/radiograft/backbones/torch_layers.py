"""Sets the weights of a Keras network from the tensors of a PyTorch state dict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

_OLD_NAME = re.compile(r"\.(norm|conv)\.([12])\.")
_NORMALIZATION = ("weight", "bias", "running_mean", "running_var")


def set_torch_weights(
    network: keras.Model, names: Iterable[tuple[str, str]], tensors: Mapping[str, NDArray[Any]]
) -> None:
    """Sets the weights of the named layers; tensors of other layers are not used.

    Args:
        network: has the layers.
        names: each layer with its prefix in the state dict.
        tensors: the state dict, in PyTorch's layout. All names may have a common prefix, such as `module.` of
            DataParallel, and DenseNet's layers may have their names from before PyTorch 0.4, such as `norm.1`.

    Raises:
        ValueError: a tensor is missing or has another shape than the layer needs. No layer was changed.
    """
    layers = [(network.get_layer(name), prefix) for name, prefix in names]
    needed = {key: shape for layer, prefix in layers for key, shape in _shapes(layer, prefix).items()}
    tensors = _current_names(tensors, next(iter(needed)))
    missing = [key for key in needed if key not in tensors]
    misshapen = [
        f"{key} {list(tensors[key].shape)} instead of {list(shape)}"
        for key, shape in needed.items()
        if key in tensors and tensors[key].shape != shape
    ]
    if missing or misshapen:
        raise ValueError(
            f"the state dict must have the {len(needed)} tensors of {network.name}, but {len(missing)} are missing"
            f"{_examples(missing)} and {len(misshapen)} have another shape{_examples(misshapen)}"
        )
    for layer, prefix in layers:
        layer.set_weights([_keras_layout(layer, tensors[key]) for key in _shapes(layer, prefix)])


def _current_names(tensors: Mapping[str, NDArray[Any]], first: str) -> dict[str, NDArray[Any]]:
    """Returns the tensors under torchvision's names; `first` is one of these."""
    renamed = {_OLD_NAME.sub(r".\1\2.", name): tensor for name, tensor in tensors.items()}
    prefixes = [name.removesuffix(first) for name in renamed if name == first or name.endswith(f".{first}")]
    return {name.removeprefix(prefixes[0]): tensor for name, tensor in renamed.items()} if prefixes else renamed


def _examples(items: list[str]) -> str:
    return f" (such as {items[0]})" if items else ""


def _shapes(layer: keras.Layer, prefix: str) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a layer's tensors in PyTorch, in the order of Keras's weights."""
    shapes = [tuple(weight.shape) for weight in layer.weights]
    if len(shapes) == 4:
        return dict(zip((f"{prefix}.{part}" for part in _NORMALIZATION), shapes, strict=True))
    kernel = shapes[0]
    if len(kernel) == 2:
        torch_kernel = kernel[::-1]
    else:  # (height, width, input, output), depthwise (height, width, channel, 1)
        order = (2, 3, 0, 1) if _is_depthwise(layer) else (3, 2, 0, 1)
        torch_kernel = tuple(kernel[axis] for axis in order)
    return dict(zip((f"{prefix}.weight", f"{prefix}.bias"), (torch_kernel, *shapes[1:]), strict=False))


def _keras_layout(layer: keras.Layer, tensor: NDArray[Any]) -> NDArray[Any]:
    # PyTorch keeps (output, input, height, width), and (output, input) of a dense layer.
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 0, 1) if _is_depthwise(layer) else tensor.transpose(2, 3, 1, 0)
    return tensor.T


def _is_depthwise(layer: keras.Layer) -> bool:
    import keras

    return isinstance(layer, keras.layers.DepthwiseConv2D)
