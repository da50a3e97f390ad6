"""The head of a network: global pooling and the new classifier, and how they join a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from radiograft.models import variables
from radiograft.models.covariates import PATIENT_INPUT
from radiograft.models.feature_layers import feature_parts, joining_layers
from radiograft.models.graph import LATERAL_PREFIX, downstream_layers, upstream_layers
from radiograft.models.keras_internals import iter_layers
from radiograft.models.lateral import VIEW_LAYERS
from radiograft.models.spec import DEFAULT_NAMES, TargetScale, TensorNames

STANDARDIZATION_EPSILON = 1e-12  # the variances have a lower bound of their own


def build_classifier(
    features: int,
    labels: int,
    *,
    dense_units: int,
    dropout: float,
    l2: float,
    seed: int,
    activation: str = "sigmoid",
    scales: Sequence[TargetScale] = (),
) -> keras.Model:
    """Builds a classifier: a ReLU layer, dropout, L2 penalties and one output per label.

    Args:
        features: number of input features.
        labels: number of outputs.
        dense_units: width of the ReLU layer; 0 leaves it out.
        dropout: rate before the last layer.
        l2: penalty on the kernels.
        seed: of the initial weights and of the dropout.
        activation: of the last layer, from the training task.
        scales: mean and standard deviation of each target, if the outputs are standardized numbers. A layer without
            weights then converts them to the unit of the data. Before training, the means are predicted.

    Returns:
        A network from float32 [n, features] to probabilities, or numbers, float32 [n, labels].

    Example:
        >>> build_classifier(1024, 2, dense_units=256, dropout=0.5, l2=1e-4, seed=0).output_shape
        (None, 2)
    """
    inputs = keras.Input((features,), dtype="float32", name="features")
    outputs = inputs
    if dense_units:
        outputs = keras.layers.Dense(
            dense_units,
            activation="relu",
            kernel_regularizer=keras.regularizers.L2(l2),
            kernel_initializer=keras.initializers.GlorotUniform(seed),
            name="classifier_dense",
        )(outputs)
    outputs = keras.layers.Dropout(dropout, seed=seed, name="classifier_dropout")(outputs)
    outputs = keras.layers.Dense(
        labels,
        activation=activation,
        dtype="float32",
        kernel_regularizer=keras.regularizers.L2(l2),
        # A random kernel on many features would start far from the mean of the numbers, and small data cannot undo it.
        kernel_initializer="zeros" if scales else keras.initializers.GlorotUniform(seed + 1),
        name=DEFAULT_NAMES.probabilities,
    )(outputs)
    if scales:
        means, deviations = (list(column) for column in zip(*scales, strict=True))
        outputs = keras.layers.Rescaling(deviations, means, dtype="float32", name="values")(outputs)
    return keras.Model(inputs, outputs, name="classifier")


def build_feature_extractor(backbone: keras.Model, *layers: str) -> keras.Model:
    """Returns the backbone up to its end, or up to the deepest of some layers, with global average pooling.

    The pooled outputs of several layers are joined, each channel once, and standardized, because their scales differ.
    The standardization is a frozen BatchNormalization: `radiograft.training.feature_extraction.FeatureSet.scales`
    returns its weights; until they are set it changes nothing.

    Args:
        layers: names of layers from the input to the output; none stands for the backbone's end.

    Returns:
        A network from images to float32 [n, channels] that shares the backbone's layers.
    """
    name = f"{backbone.name}_features"
    if len(layers) > 1:
        return keras.Model(backbone.inputs[0], _join(backbone, layers), name=name)
    features = backbone.get_layer(layers[0]).output if layers else backbone.output
    pooling = keras.layers.GlobalAveragePooling2D(dtype="float32", name=DEFAULT_NAMES.pooling)
    return keras.Model(backbone.inputs[0], pooling(features), name=name)


def _join(backbone: keras.Model, layers: Sequence[str]) -> keras.KerasTensor:
    """Pools the outputs of several layers, joins them and standardizes the result."""
    pooled = [
        keras.layers.GlobalAveragePooling2D(dtype="float32", name=f"{part.layer}_{part.start}_pooled")(part.tensor)
        for part in feature_parts(backbone, layers)
    ]
    joined = keras.layers.Concatenate(dtype="float32", name="joined")(pooled)
    standardized = keras.layers.BatchNormalization(
        center=False, scale=False, epsilon=STANDARDIZATION_EPSILON, dtype="float32", name=DEFAULT_NAMES.pooling
    )
    standardized.trainable = False
    return standardized(joined)


def build_patient_input(shape: tuple[int, int], dropout: float, seed: int) -> keras.Model:
    """Builds the layers that read patient data, see `radiograft.models.covariates.encode_covariates`.

    In training each value is made missing with the probability `dropout`. The classifier reads a flag for a missing
    value in place of that for a known one.

    Returns:
        A network from float32 [n, *shape] to float32 [n, product of shape], the width that the classifier reads.
    """

    def layer(kind: type[keras.layers.Layer], name: str, *arguments: Any, **options: Any) -> keras.layers.Layer:
        return kind(*arguments, dtype="float32", name=f"{PATIENT_INPUT}_{name}", **options)

    patient = keras.Input(shape, dtype="float32", name=PATIENT_INPUT)
    given = layer(keras.layers.Identity, "given")(patient)  # see `further_inputs`
    known = layer(keras.layers.Cropping1D, "known", (0, shape[0] - 1))(given)
    values = layer(keras.layers.Cropping1D, "values", (1, 0))(given)
    dropped = layer(keras.layers.Dropout, "dropout", dropout, seed=seed)(known)
    kept = layer(keras.layers.ReLU, "kept", max_value=1.0)(dropped)  # undoes the scaling of Dropout
    values = layer(keras.layers.Multiply, "kept_values")([values, kept])
    missing = layer(keras.layers.Rescaling, "missing", -1.0, offset=1.0)(kept)
    joined = layer(keras.layers.Concatenate, "encoded", axis=1)([missing, values])
    return keras.Model(patient, layer(keras.layers.Flatten, "vector")(joined), name="patient_input")


def attach_classifier(
    features: keras.Model, classifier: keras.Model, patient: keras.Model | None = None
) -> keras.Model:
    """Returns one flat network from images to probabilities that shares the layers and weights of its parts.

    With `patient`, see `build_patient_input`, the classifier reads the pooled features joined with patient data, which
    are the last input.
    """
    inputs, outputs = features.input, features.output
    if patient is not None:
        inputs = [*features.inputs, patient.input]
        join = keras.layers.Concatenate(dtype="float32", name=f"{PATIENT_INPUT}_joined")
        outputs = join([features.output, patient.output])
    outputs = _apply_layers(classifier, outputs)
    return keras.Model(inputs, outputs, name=features.name.removesuffix("_features"))


def _apply_layers(classifier: keras.Model, features: keras.KerasTensor) -> keras.KerasTensor:
    """Applies the layers of a classifier one by one, so that the graph stays flat."""
    known = {id(classifier.input): features}
    for layer, read in iter_layers(classifier):
        given = [known[id(tensor)] for tensor in read]
        if given:
            known[id(layer.output)] = layer(given if len(given) > 1 else given[0])
    return known[id(classifier.output)]


def head_layers(classifier: keras.Model) -> tuple[str, ...]:
    """Returns the names of a classifier's layers without its input."""
    return tuple(layer.name for layer in classifier.layers[1:])


def cast_to_policy(network: keras.Model, names: TensorNames = DEFAULT_NAMES) -> keras.Model:
    """Returns the network under Keras's current dtype policy, for further training.

    A loaded network computes in the precision in which it was saved, possibly on another GPU. Keras scales the loss
    according to the current policy; without that scaling, small gradients vanish in float16.

    Returns:
        The network itself if its layers have the policy, else a copy with the same weights and random states.
    """
    end = downstream_layers(network, names.class_map) if names.class_map else joining_layers(network, names.pooling)
    float32 = upstream_layers(network, names.normalized) | end | downstream_layers(network, names.probabilities)
    float32 |= {f"{LATERAL_PREFIX}{name}" for name in float32} | VIEW_LAYERS
    float32.update(layer.name for layer in network.layers if layer.name.startswith(f"{PATIENT_INPUT}_"))

    def policy(layer: keras.Layer) -> str:
        return "float32" if layer.name in float32 else str(keras.config.dtype_policy().name)

    if all(layer.dtype_policy.name == policy(layer) for layer in network.layers):
        return network

    def copied(layer: keras.Operation) -> keras.Operation:
        if not isinstance(layer, keras.Layer):
            return layer  # an operation without weights, in the precision of its inputs
        return type(layer).from_config({**layer.get_config(), "dtype": policy(layer)})

    copy = keras.models.clone_model(network, clone_function=copied)
    for layer in copy.layers:
        variables.write_variables(layer.variables, variables.read_variables(network.get_layer(layer.name).variables))
    return copy
