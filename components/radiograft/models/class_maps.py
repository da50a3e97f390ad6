"""Heads that pool a class map: a 1x1 convolution gives each position a logit of each label, then the map is pooled.

The map shows where the network sees a label, so such a head localizes findings although it learns from labels alone.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from radiograft.config.network import AVERAGE, CSRA, LSE, LSE_LBA, MAX, NOISY_OR, MapPooling
from radiograft.models.graph import read_output_of
from radiograft.models.spec import DEFAULT_NAMES

CLASS_MAP = "class_map"  # name of the layer whose output is the map, [n, height, width, labels]
POOLED_MAP = "class_map_pooled"  # name of the layer whose output is the pooled map, [n, labels]
MIN_EVIDENCE = 1e-30  # of noisy-or; keeps the logarithm finite
POSITIONS = (1, 2)  # axes of a map


@keras.saving.register_keras_serializable("radiograft")
class ClassMapPooling(keras.layers.Layer):  # type: ignore[misc]
    """Pools a map of logits, float32 [n, height, width, labels], over its positions to logits [n, labels].

    - `max`: the largest logit.
    - `lse`: log-sum-exp (Pinheiro and Collobert 2015, Wang et al. 2017), log(mean(exp(r x))) / r. It is near the mean
      for small r and near the maximum for large r.
    - `lse_lba`: log-sum-exp with lower-bounded adaptation (Yao et al. 2018): r of each label is learned; it is
      `sharpness` + exp(b), where b starts at 0.
    - `noisy_or`: the logit of the probability that at least one position shows the label if the positions are
      independent, 1 - prod(1 - p) (Li et al. 2018). It is computed from sums of logarithms.
    - `csra`: class-specific residual attention (Zhu and Wu 2021): the mean plus `attention` times the mean that is
      weighted by the softmax of the logits over the positions.

    Args:
        kind: one of these names.
        sharpness: r of `lse`, or the lower bound of r of `lse_lba`; above 0.
        attention: weight of the attention of `csra`.

    Example:
        >>> maps = keras.ops.array([[[[0.0], [2.0]]]])
        >>> ClassMapPooling("max")(maps).numpy().tolist()
        [[2.0]]
    """

    def __init__(self, kind: str, sharpness: float = 1.0, attention: float = 0.0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.kind, self.sharpness, self.attention = kind, sharpness, attention

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the learned exponents of `lse_lba`."""
        if self.kind == LSE_LBA:
            self.exponents = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="exponents")
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Returns the pooled logits, float32 [n, labels]."""
        if self.kind == LSE:
            return _log_sum_exp(inputs, self.sharpness)
        if self.kind == LSE_LBA:
            return _log_sum_exp(inputs, self.sharpness + ops.exp(self.exponents))
        if self.kind == NOISY_OR:
            return _noisy_or(inputs)
        if self.kind == CSRA:
            return ops.mean(inputs, axis=POSITIONS) + self.attention * _attended_mean(inputs)
        return ops.max(inputs, axis=POSITIONS)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns (n, labels)."""
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        own = {"kind": self.kind, "sharpness": self.sharpness, "attention": self.attention}
        return {**super().get_config(), **own}


def _log_sum_exp(maps: Any, sharpness: Any) -> Any:
    """Returns log(mean(exp(r x))) / r. Neither a small nor a large r loses digits."""
    largest = ops.stop_gradient(ops.max(maps, axis=POSITIONS, keepdims=True))
    mean = ops.mean(ops.expm1(sharpness * (maps - largest)), axis=POSITIONS)
    return largest[:, 0, 0] + ops.log1p(mean) / sharpness


def _noisy_or(maps: Any) -> Any:
    """Returns log(P / (1 - P)), where -log(1 - P) is the sum of -log(1 - p) = softplus(x) over the positions."""
    evidence = ops.maximum(ops.sum(ops.softplus(maps), axis=POSITIONS), MIN_EVIDENCE)
    return evidence + ops.log(-ops.expm1(-evidence))


def _attended_mean(maps: Any) -> Any:
    """Returns the mean weighted by the softmax of the logits over the positions."""
    weights = ops.exp(maps - ops.max(maps, axis=POSITIONS, keepdims=True))  # Keras's softmax needs a single axis
    return ops.sum(weights * maps, axis=POSITIONS) / ops.sum(weights, axis=POSITIONS)


def build_class_map_classifier(
    shape: tuple[int, int, int],
    labels: int,
    pooling: MapPooling,
    *,
    dense_units: int,
    dropout: float,
    l2: float,
    seed: int,
    activation: str = "sigmoid",
) -> keras.Model:
    """Builds a classifier of the last activation: 1x1 convolutions to a class map, which is pooled.

    It has the layers of `radiograft.models.heads.build_classifier` at each position. Dropout leaves out channels, as
    it does behind global pooling.

    Args:
        shape: height, width and channels of the activation.
        labels: number of outputs.
        pooling: how the map is pooled; not `average`.
        dense_units: channels of the 1x1 convolution with ReLU before the map; 0 leaves it out.
        dropout: rate before the map.
        l2: penalty on the kernels.
        seed: of the initial weights and of the dropout.
        activation: of the last layer, from the training task.

    Returns:
        A network from the activation [n, height, width, channels] to probabilities float32 [n, labels].

    Example:
        >>> pooling = MapPooling("lse", sharpness=5.0)
        >>> build_class_map_classifier(
        ...     (7, 7, 1024), 2, pooling, dense_units=0, dropout=0.5, l2=1e-4, seed=0
        ... ).output_shape
        (None, 2)
    """
    if pooling.kind == AVERAGE:
        raise ValueError(f"the pooling of a class map must not be {AVERAGE!r}: use build_classifier")

    def convolution(channels: int, number: int, **arguments: Any) -> keras.layers.Conv2D:
        return keras.layers.Conv2D(channels, 1, **_kernel(l2, seed + number), **arguments)

    inputs = keras.Input(shape, name="features")
    outputs = inputs
    if dense_units:
        outputs = convolution(dense_units, 0, activation="relu", name="classifier_dense")(outputs)
    outputs = keras.layers.SpatialDropout2D(dropout, seed=seed, name="classifier_dropout")(outputs)
    bias = keras.initializers.Constant(_initial_bias(pooling.kind, shape[0] * shape[1]))
    outputs = convolution(labels, 1, bias_initializer=bias, dtype="float32", name=CLASS_MAP)(outputs)
    pooled = ClassMapPooling(pooling.kind, pooling.sharpness, pooling.attention, dtype="float32", name=POOLED_MAP)
    outputs = pooled(outputs)
    outputs = keras.layers.Activation(activation, dtype="float32", name=DEFAULT_NAMES.probabilities)(outputs)
    return keras.Model(inputs, outputs, name="classifier")


def _kernel(l2: float, seed: int) -> dict[str, Any]:
    """Returns the penalty and the initial values of a layer's kernel."""
    return {
        "kernel_regularizer": keras.regularizers.L2(l2),
        "kernel_initializer": keras.initializers.GlorotUniform(seed),
    }


def _initial_bias(kind: str, positions: int) -> float:
    """Returns the logit at which the pooled probability is 1/2. With a bias of 0, noisy-or would start near 1."""
    return math.log(math.expm1(math.log(2) / positions)) if kind == NOISY_OR else 0.0


@keras.saving.register_keras_serializable("radiograft")
class SelfTransfer(keras.layers.Layer):  # type: ignore[misc]
    """Returns the logits of the classification head, the first of its inputs.

    The second input, the logits of the localization head, is used in training alone, see
    `radiograft.training.tasks.self_transfer`. As an input it stays a part of the network.

    Args:
        weight: of the localization head in the loss, 0 to 1.
    """

    def __init__(self, weight: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.weight = weight

    def call(self, inputs: Any) -> Any:
        """Returns the first of two tensors, float32 [n, labels]."""
        return inputs[0]

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Returns (n, labels)."""
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "weight": self.weight}


def build_self_transfer_classifier(
    shape: tuple[int, int, int],
    labels: int,
    pooling: MapPooling,
    *,
    dense_units: int,
    dropout: float,
    l2: float,
    seed: int,
    activation: str = "sigmoid",
) -> keras.Model:
    """Builds two heads on the last activation (Hwang and Kim 2016); the network returns the first one's scores.

    The classification head is that of `radiograft.models.heads.build_classifier` behind global pooling. The
    localization head is a 1x1 convolution to a class map, whose largest logit of each label counts.

    Args:
        shape: height, width and channels of the activation.
        labels: number of outputs.
        pooling: its `localization` is the weight of the localization head in the loss.
        dense_units: width of the ReLU layer of the classification head; 0 leaves it out.
        dropout: rate before the last layer of each head.
        l2: penalty on the kernels.
        seed: of the initial weights and of the dropout.
        activation: of the last layer, from the training task.

    Returns:
        A network from the activation [n, height, width, channels] to probabilities float32 [n, labels].
    """
    inputs = keras.Input(shape, name="features")
    outputs = keras.layers.GlobalAveragePooling2D(dtype="float32", name="classifier_pooled")(inputs)
    if dense_units:
        dense = keras.layers.Dense(dense_units, activation="relu", name="classifier_dense", **_kernel(l2, seed))
        outputs = dense(outputs)
    outputs = keras.layers.Dropout(dropout, seed=seed, name="classifier_dropout")(outputs)
    classified = keras.layers.Dense(labels, dtype="float32", name="classifier_logits", **_kernel(l2, seed + 1))(outputs)
    kept = keras.layers.SpatialDropout2D(dropout, seed=seed + 1, name="class_map_dropout")(inputs)
    maps = keras.layers.Conv2D(labels, 1, dtype="float32", name=CLASS_MAP, **_kernel(l2, seed + 2))(kept)
    localized = ClassMapPooling(MAX, dtype="float32", name=POOLED_MAP)(maps)
    both = SelfTransfer(pooling.localization, dtype="float32", name="self_transfer")([classified, localized])
    scores = keras.layers.Activation(activation, dtype="float32", name=DEFAULT_NAMES.probabilities)(both)
    return keras.Model(inputs, scores, name="classifier")


def localization_scores(network: keras.Model) -> keras.KerasTensor:
    """Returns the probabilities of the localization head of a network with two heads, float32 [n, labels]."""
    activation = network.get_layer(DEFAULT_NAMES.probabilities).activation
    layer = keras.layers.Activation(activation, dtype="float32", name="localization_scores")
    return layer(read_output_of(network, POOLED_MAP))
