"""A small network that reads an image and patient data."""

from __future__ import annotations

import keras

from radiograft.data.shards.dataset import Shards
from radiograft.models.covariates import PATIENT_INPUT
from radiograft.models.heads import attach_classifier, build_classifier, build_patient_input


def fused_network(
    image_shape: tuple[int, int, int], patient_shape: tuple[int, int], labels: int, dropout: float = 0.3
) -> keras.Model:
    """Returns a network whose hidden layer reads 5 pooled features and patient data; its weights are always the same.

    Args:
        image_shape: of the image, pixels and channels.
        patient_shape: of the encoded patient data.
        labels: number of outputs.
        dropout: of the input of patient data.
    """
    keras.utils.set_random_seed(1)
    image = keras.Input(image_shape, dtype="uint8", name="picture")
    scaled = keras.layers.Rescaling(1 / 255, dtype="float32", name="normalised")(image)
    frozen = keras.layers.Conv2D(4, 3, strides=8, activation="relu", name="frozen")(scaled)
    conv = keras.layers.Conv2D(5, 1, activation="relu", name="conv")(frozen)
    deeper = keras.layers.Conv2D(5, 1, activation="relu", name="deeper")(conv)
    features = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="pooled")(deeper), name="net_features")
    patient = build_patient_input(patient_shape, dropout, seed=0)
    width = 5 + patient.output.shape[-1]
    classifier = build_classifier(width, labels, dense_units=6, dropout=0.0, l2=0.0, seed=0)
    return attach_classifier(features, classifier, patient)


def network_for(data: Shards, dropout: float = 0.3) -> keras.Model:
    """Returns `fused_network` for these shards."""
    size, channels = data.image_size, data.image_input.channels
    height, width = data.further[PATIENT_INPUT].shape[1:]
    return fused_network((size, size, channels), (height, width), len(data.labels), dropout)
