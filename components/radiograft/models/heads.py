"""The whole network: backbone, pooling and the new classifier, and what of it a strategy trains."""

from __future__ import annotations

import keras

from radiograft.models import variables

FLOAT32 = ("normalize", "pooled", "probabilities")  # how the names of layers begin that no dtype policy rounds


def build_classifier(
    features: int, labels: int, *, dense_units: int, dropout: float, l2: float, seed: int
) -> keras.Model:
    """The poster's new classifier: ReLU layer, dropout, L2, one sigmoid a label.

    Returns:
        float32 [n, features] to probabilities float32 [n, labels].
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
        activation="sigmoid",
        dtype="float32",
        kernel_regularizer=keras.regularizers.L2(l2),
        kernel_initializer=keras.initializers.GlorotUniform(seed + 1),
        name="probabilities",
    )(outputs)
    return keras.Model(inputs, outputs, name="classifier")


def build_feature_extractor(backbone: keras.Model, layer: str | None = None) -> keras.Model:
    """The backbone up to a layer (its end by default) and global average pooling: images to float32 [n, channels]."""
    features = backbone.get_layer(layer).output if layer else backbone.output
    pooling = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pooled")
    return keras.Model(backbone.inputs[0], pooling(features), name=f"{backbone.name}_features")


def attach_classifier(features: keras.Model, classifier: keras.Model) -> keras.Model:
    """One flat network from images to probabilities that shares the layers and weights of both parts."""
    outputs = features.output
    for layer in classifier.layers[1:]:
        outputs = layer(outputs)
    return keras.Model(features.input, outputs, name=features.name.removesuffix("_features"))


def cast_to_policy(network: keras.Model) -> keras.Model:
    """The network under Keras's present dtype policy, to be trained further.

    A network from a file computes as it did where it was made, maybe on another GPU, but Keras scales the loss, without
    which small gradients vanish in float16, as the present policy says.

    Returns:
        The network itself where its layers have the policy, else a copy with the same weights and random states.
    """
    if all(layer.dtype_policy.name == _policy(layer) for layer in network.layers):
        return network
    copy = keras.models.clone_model(
        network,
        clone_function=lambda layer: type(layer).from_config({**layer.get_config(), "dtype": _policy(layer)}),
    )
    for layer in copy.layers:
        variables.write_variables(layer.variables, variables.read_variables(network.get_layer(layer.name).variables))
    return copy


def _policy(layer: keras.Layer) -> str:
    return "float32" if layer.name.startswith(FLOAT32) else str(keras.config.dtype_policy().name)
