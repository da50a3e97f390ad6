"""Fits the tensors of a weight file to the layers of a network, and says what is missing, misshapen or left over."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from radiograft.storage.weight_files import WeightFile

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

Tensors = Mapping[str, "NDArray[Any]"]
EXAMPLES = 3  # of tensors in an error message
_OLD_NAME = re.compile(r"\.(norm|conv)\.([12])\.")  # of DenseNet's layers before PyTorch 0.4
_NORMALIZATION = ("weight", "bias", "running_mean", "running_var")
# Layers after the backbone. Dense layers need not be named, since no backbone has one alone.
_HEAD = re.compile(
    r"(^|[./_])(classifier|fc\d*|aux\d|AuxLogits|head|pre_logits|predictions|last_linear|conv10)([./_]|$)"
)


class _Entry(NamedTuple):
    """A weight of a layer: the tensor's name and shape in the file, and the axes that bring it to Keras's order."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None
    is_zero_if_missing: bool = False


@dataclasses.dataclass(frozen=True)
class WeightFit:
    """How the tensors of a file fit a network.

    Attributes:
        network: the network.
        missing: names of tensors that the network needs and the file lacks.
        misshapen: descriptions of tensors with another shape.
        surplus: names of tensors of other layers than a classifier.
        unused: number of tensors of a classifier and of counters, which are not needed.
    """

    network: keras.Model
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]
    surplus: tuple[str, ...]
    unused: int
    _entries: Sequence[tuple[keras.Layer, list[_Entry]]]
    _tensors: Tensors

    @property
    def problems(self) -> int:
        """Number of tensors that do not fit."""
        return len(self.missing) + len(self.misshapen) + len(self.surplus)

    def describe_problems(self) -> str:
        """Returns the number of tensors of each kind of misfit, with examples."""
        kinds = {"missing": self.missing, "of another shape": self.misshapen, "surplus": self.surplus}
        return ", ".join(f"{len(names)} {kind}{_examples(names)}" for kind, names in kinds.items())

    def input_channels(self) -> int:
        """Returns the number of channels that the file's first convolution reads."""
        entry = self._entries[0][1][0]
        shape = self._tensors[entry.name].shape if entry.name in self._tensors else entry.shape
        return int(shape[_input_axis(entry)]) if len(shape) == 4 else int(entry.shape[_input_axis(entry)])

    def set_weights(self) -> None:
        """Sets the network's weights.

        Raises:
            ValueError: the tensors do not fit. No layer was changed.
        """
        if self.problems:
            needed = sum(len(entries) for _, entries in self._entries)
            raise ValueError(
                f"the file must have the {needed} tensors of {self.network.name}, but {self.describe_problems()}"
            )
        for layer, entries in self._entries:
            layer.set_weights([self._value(entry) for entry in entries])

    def _value(self, entry: _Entry) -> NDArray[Any]:
        if entry.name not in self._tensors:
            return np.zeros(entry.shape, "float32")
        tensor = self._tensors[entry.name]
        return tensor.transpose(entry.axes) if entry.axes else tensor


def fit_torch(
    network: keras.Model, names: Iterable[tuple[str, str]], tensors: Tensors, *, has_biases: bool = True
) -> WeightFit:
    """Fits tensors with PyTorch's names and order of axes.

    Args:
        network: has the layers.
        names: each layer that has weights with its prefix in the state dict.
        tensors: the state dict. All names may have a common prefix, such as `module.` of DataParallel, and DenseNet's
            layers may have their names from before PyTorch 0.4, such as `norm.1`.
        has_biases: False if the convolutions of PyTorch's network have no biases; they are 0 where Keras's has them.
    """
    entries = [(network.get_layer(name), prefix) for name, prefix in names]
    pairs = [(layer, _torch_entries(layer, prefix, has_biases)) for layer, prefix in entries]
    needed = [entry.name for _, group in pairs for entry in group]
    return _fit(network, pairs, current_names(tensors, needed))


def fit_keras(network: keras.Model, names: Iterable[tuple[str, str]], tensors: Tensors) -> WeightFit:
    """Fits tensors named `PREFIX/NUMBER`, with Keras's order of axes.

    Args:
        network: has the layers.
        names: each layer that has weights with its prefix.
        tensors: the tensors.
    """
    pairs = [(network.get_layer(name), prefix) for name, prefix in names]
    return _fit(network, [(layer, _keras_entries(layer, prefix)) for layer, prefix in pairs], tensors)


def fit_keras_file(network: keras.Model, file: WeightFile) -> WeightFit:
    """Fits a file of Keras by the names of the layers, or by their order or keys, whichever fits best.

    Keras numbers layers without a name by a counter of the process, so the names in a file may differ.
    """
    weighted = [layer for layer in network.layers if layer.weights]
    namings = [{layer.name: layer.name for layer in weighted}]
    stored = [layer for layer in file.layers if layer.arrays]
    if any(layer.key for layer in stored):
        names = {layer.key: layer.name for layer in stored}
        namings.append({layer.name: names.get(key, "") for key, layer in _keys(network).items() if layer.weights})
    else:
        namings.append({layer.name: other.name for layer, other in zip(weighted, stored, strict=False)})
    complete = [{layer.name: naming.get(layer.name, "") or layer.name for layer in weighted} for naming in namings]
    return min((fit_keras(network, naming.items(), file.tensors) for naming in complete), key=lambda fit: fit.problems)


def fit_folded(network: keras.Model, tensors: Tensors) -> WeightFit:
    """Fits convolutions into which the normalizations were folded, in the order of operations, as TFLite keeps them.

    Each normalization of the network then only adds the bias.
    """
    import keras

    convolutions = [
        layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    ]
    normalizations = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    kernels = [name for name in tensors if name.endswith("_kernel")]
    renamed: dict[str, NDArray[Any]] = {}
    for number, name in enumerate(kernels):
        bias = tensors.get(name.removesuffix("_kernel") + "_bias")
        if number >= min(len(convolutions), len(normalizations)) or tensors[name].ndim != 4 or bias is None:
            renamed[f"predictions/{number}"] = tensors[name]
            continue
        layer = normalizations[number]
        one, zero = np.ones_like(bias), np.zeros_like(bias)
        renamed[f"{convolutions[number].name}/0"] = tensors[name].transpose(
            1, 2, 3, 0
        )  # from (output, height, width, input)
        renamed |= {f"{layer.name}/{n}": part for n, part in enumerate((one, bias, zero, one - layer.epsilon))}
    return fit_keras(network, [(layer.name, layer.name) for layer in network.layers if layer.weights], renamed)


def _fit(network: keras.Model, pairs: Sequence[tuple[keras.Layer, list[_Entry]]], tensors: Tensors) -> WeightFit:
    needed = {entry.name: entry for _, entries in pairs for entry in entries}
    missing = [name for name, entry in needed.items() if name not in tensors and not entry.is_zero_if_missing]
    misshapen = [
        f"{name} {list(tensors[name].shape)} instead of {list(entry.shape)}"
        for name, entry in needed.items()
        if name in tensors and tensors[name].shape != entry.shape
    ]
    others = [name for name in tensors if name not in needed]
    surplus = [name for name in others if tensors[name].ndim > 2 and not _HEAD.search(name)]
    return WeightFit(
        network, tuple(missing), tuple(misshapen), tuple(surplus), len(others) - len(surplus), pairs, tensors
    )


def current_names(tensors: Tensors, needed: Sequence[str]) -> Tensors:
    """Returns the tensors under torchvision's names, without the prefix with which most of the needed ones fit."""
    renamed = {_OLD_NAME.sub(r".\1\2.", name): tensor for name, tensor in tensors.items()}
    ends = {needed[0], needed[-1]}
    prefixes = {name.removesuffix(end) for name in renamed for end in ends if name.endswith(f".{end}")}
    prefix = max(["", *sorted(prefixes)], key=lambda start: sum(start + name in renamed for name in needed))
    return {name.removeprefix(prefix): tensor for name, tensor in renamed.items()}


def _examples(items: Sequence[str]) -> str:
    if not items:
        return ""
    more = ", ..." if len(items) > EXAMPLES else ""
    return f" ({', '.join(f'{item:.120}' for item in items[:EXAMPLES])}{more})"


def _torch_entries(layer: keras.Layer, prefix: str, has_biases: bool) -> list[_Entry]:
    """Returns a layer's tensors in PyTorch, in the order of Keras's weights."""
    shapes = [tuple(weight.shape) for weight in layer.weights]
    if len(shapes) == len(_NORMALIZATION):
        return [_Entry(f"{prefix}.{part}", shape) for part, shape in zip(_NORMALIZATION, shapes, strict=True)]
    # Keras keeps (height, width, input, output), depthwise (height, width, channel, 1), and dense (input, output).
    kernel, axes = shapes[0], tuple[int, ...]((1, 0))
    if len(kernel) == 4:
        axes = (2, 3, 0, 1) if _is_depthwise(layer) else (2, 3, 1, 0)
    torch_kernel = tuple(kernel[axes.index(axis)] for axis in range(len(kernel)))
    entries = [_Entry(f"{prefix}.weight", torch_kernel, axes)]
    return entries + [_Entry(f"{prefix}.bias", shape, None, not has_biases) for shape in shapes[1:]]


def _keras_entries(layer: keras.Layer, prefix: str) -> list[_Entry]:
    return [_Entry(f"{prefix}/{number}", tuple(weight.shape)) for number, weight in enumerate(layer.weights)]


def _input_axis(entry: _Entry) -> int:
    return 1 if entry.axes else 2


def _keys(network: keras.Model) -> dict[str, keras.Layer]:
    """Returns each layer by its key in the files of Keras 3: its class in snake case, numbered in the network."""
    counts: dict[str, int] = {}
    keys = {}
    for layer in network.layers:
        name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
        keys[f"{name}_{counts[name]}" if name in counts else name] = layer
        counts[name] = counts.get(name, 0) + 1
    return keys


def _is_depthwise(layer: keras.Layer) -> bool:
    import keras

    return isinstance(layer, keras.layers.DepthwiseConv2D)
