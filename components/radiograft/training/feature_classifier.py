"""Features of a backbone and the classifier on them: what feature extraction and a search train."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from radiograft.backbones import BackboneSpec, get_backbone
from radiograft.config import ExtractFeatures
from radiograft.config.data import REGRESSION
from radiograft.config.network import (
    ALL_LAYERS,
    AUTO_LAYER,
    AVERAGE,
    FRONTAL_LATERAL,
    LAST_LAYER,
    SELF_TRANSFER,
    split_feature_layers,
)
from radiograft.data.shards.dataset import Shards
from radiograft.imaging.views import LATERAL
from radiograft.models.backbone import build_backbone
from radiograft.models.class_maps import (
    CLASS_MAP,
    build_class_map_classifier,
    build_self_transfer_classifier,
)
from radiograft.models.covariates import PATIENT_INPUT
from radiograft.models.cut_offs import check_tap, parse_cut_offs
from radiograft.models.feature_layers import last_activation, named_layers
from radiograft.models.graph import further_inputs
from radiograft.models.heads import (
    attach_classifier,
    build_classifier,
    build_feature_extractor,
    build_patient_input,
    head_layers,
)
from radiograft.models.lateral import MISSING_VECTOR, add_lateral, view_parts
from radiograft.models.spec import DEFAULT_NAMES, TargetScale
from radiograft.training.box_targets import with_boxes, with_class_map
from radiograft.training.checkpoints import Checkpoints, weights_digest
from radiograft.training.datasets import data_from_activations
from radiograft.training.feature_extraction import (
    FITTED_SPLITS,
    FeatureSet,
    extract_features,
    has_lateral_image,
)
from radiograft.training.history import History
from radiograft.training.tasks.boxes import BoxTask
from radiograft.training.tasks.registry import get_task
from radiograft.training.tasks.regression import fit_scales
from radiograft.training.train_config import TrainObserver, train_config
from radiograft.training.trainer import train


def extract_all_features(
    settings: ExtractFeatures,
    data: Shards,
    strategy: tf.distribute.Strategy,
    folder: Path,
    scratch: Path,
    checkpoints: Checkpoints,
    random_weights: bool = False,
) -> FeatureSet:
    """Checks the settings and extracts the features of all tapped layers from the backbone.

    For a head over the class map, the last activation is kept in a folder of `scratch`.
    """
    backbone = build_backbone(
        settings.model_backbone,
        settings.model_weights,
        settings.model_weights_md5,
        data.network_size,
        data.image_input.channels,
        settings.model_normalization,
        random_weights,
        data.image_size,
    )
    spec = get_backbone(settings.model_backbone)
    parse_cut_offs(settings.model_cut_off, backbone, spec)
    if settings.model_feature_layer not in (AUTO_LAYER, LAST_LAYER, ALL_LAYERS):
        for name in split_feature_layers(settings.model_feature_layer):
            check_tap(spec, name)
        layers = named_layers(settings.model_feature_layer, spec.taps)
        _build_extractor(backbone, spec, layers, settings.model_cut_off)
    maps = None if settings.model_pooling == AVERAGE else scratch / weights_digest(backbone)

    def extract(images: Shards, folder: Path, engine: str) -> FeatureSet:
        batch_size = settings.train_batch_size
        return extract_features(backbone, spec.taps, images, batch_size, strategy, folder, checkpoints, maps, engine)

    frontal = extract(data, folder, settings.train_frozen_engine)
    if settings.model_views != FRONTAL_LATERAL:
        return frontal
    laterals = dataclasses.replace(data, roles=(LATERAL,))
    return dataclasses.replace(frontal, lateral=extract(laterals, folder / LATERAL, frontal.engine))


def fit_classifier(
    settings: ExtractFeatures,
    extraction: FeatureSet,
    layers: Sequence[str],
    data: Shards,
    strategy: tf.distribute.Strategy,
    logs: Path,
    checkpoints: Checkpoints,
    observer: TrainObserver | None = None,
) -> tuple[keras.Model, tuple[str, ...], History]:
    """Trains a classifier on the features of these layers.

    Args:
        settings: settings of the stage.
        extraction: features of all tapped layers.
        layers: those whose features the classifier reads.
        data: the images, of which only the labels are used.
        strategy: distributes the classifier over the devices.
        logs: folder for TensorBoard; its name is that of the training.
        checkpoints: checkpoints of this task.
        observer: see `TrainConfig`.

    Returns:
        The network from images to probabilities, the names of the layers of its head, and the history.
    """
    network, trained, head = _build_network(settings, extraction, layers, data)
    task = get_task(data.task, data.labels, target_scales(data))
    training, validation = (
        extraction.last_map(split, data) if extraction.maps else extraction.of(layers, split, data)
        for split in FITTED_SPLITS
    )
    if settings.train_box_weight:
        task = BoxTask(task, len(data.labels), settings.train_box_weight)
        trained, positions = with_class_map(trained), network.get_layer(CLASS_MAP).output.shape[1:3]
        training, validation = (
            with_boxes(activations, data, split, positions)
            for activations, split in zip((training, validation), FITTED_SPLITS, strict=True)
        )
    config = train_config(settings, task, head, logs, observer)
    seed, replicas = settings.train_seed, strategy.num_replicas_in_sync
    key = (dataclasses.asdict(settings), data.identity(), weights_digest(network), replicas)
    training_data = data_from_activations(training, validation, settings.train_batch_size, seed, replicas)
    history = train(trained, training_data, config, strategy, checkpoints.of(logs.name, *key))
    return network, head, history


def _build_network(
    settings: ExtractFeatures, extraction: FeatureSet, layers: Sequence[str], data: Shards
) -> tuple[keras.Model, keras.Model, tuple[str, ...]]:
    """Builds the network with a new classifier on the features of these layers.

    Returns:
        The network from its inputs to probabilities, its part from the stored features on, and the names of the layers
        of its head.
    """
    backbone_spec = get_backbone(settings.model_backbone)
    extractor = _build_extractor(extraction.backbone, backbone_spec, layers, settings.model_cut_off)
    if len(layers) > 1:
        extractor.get_layer(DEFAULT_NAMES.pooling).set_weights(extraction.scales(layers))
    if extraction.lateral is not None:
        present = has_lateral_image(data, "train")
        extractor = add_lateral(extractor, extraction.lateral.scales(layers, present) if len(layers) > 1 else None)
    if extraction.maps:
        extractor = keras.Model(extractor.input, last_activation(extractor, DEFAULT_NAMES.pooling), name=extractor.name)
    patient = _patient_input(settings, data)
    *positions, width = extractor.output.shape[1:]
    shape = (*positions, width + (patient.output.shape[-1] if patient else 0))
    classifier = _build_classifier(settings, shape, data)
    network = attach_classifier(extractor, classifier, patient)
    stored = [extractor.output] if extraction.maps else view_parts(network)
    trained = keras.Model([*stored, *further_inputs(network)], network.output, name="classifier")
    return network, trained, (*head_layers(classifier), *([MISSING_VECTOR] if extraction.lateral else []))


def _build_extractor(backbone: keras.Model, spec: BackboneSpec, layers: Sequence[str], cut_off: str) -> keras.Model:
    """Returns the backbone up to the deepest feature layer, with global pooling.

    Raises:
        ValueError: fine-tuning cannot start at the cut-off if the network ends at this layer.
    """
    network = build_feature_extractor(backbone, *layers)
    try:
        parse_cut_offs(cut_off, network, spec)
    except ValueError as error:
        raise ValueError(
            f"model_cut_off must suit a network that ends at the feature layer {layers[-1]!r}: {error}"
        ) from error
    return network


def is_fine_tunable(backbone: keras.Model, spec: BackboneSpec, layer: str, cut_off: str) -> bool:
    """Returns whether fine-tuning can start at the cut-off if the network ends at this layer."""
    try:
        _build_extractor(backbone, spec, [layer], cut_off)
    except ValueError:
        return False
    return True


def _patient_input(settings: ExtractFeatures, data: Shards) -> keras.Model | None:
    """Returns the layers that read patient data; None if the network reads images alone."""
    if PATIENT_INPUT not in data.further:
        return None
    height, width = data.further[PATIENT_INPUT].shape[1:]
    return build_patient_input((height, width), settings.model_patient_dropout, settings.train_seed)


def _build_classifier(settings: ExtractFeatures, shape: tuple[int, ...], data: Shards) -> keras.Model:
    """Returns the classifier of pooled features of this shape, or of the last activation."""
    activation = get_task(data.task, data.labels, target_scales(data)).activation
    options: dict[str, Any] = {
        "dense_units": settings.model_dense_units,
        "dropout": settings.model_dropout,
        "l2": settings.model_l2,
        "seed": settings.train_seed,
        "activation": activation,
    }
    if settings.model_pooling == AVERAGE:
        return build_classifier(shape[-1], len(data.labels), **options, scales=target_scales(data))
    height, width, channels = shape
    two_heads = settings.model_pooling == SELF_TRANSFER
    build = build_self_transfer_classifier if two_heads else build_class_map_classifier
    return build((height, width, channels), len(data.labels), settings.pooling(), **options)


def target_scales(data: Shards) -> tuple[TargetScale, ...]:
    """Returns mean and standard deviation of each target in training; empty for labels."""
    return fit_scales(data.split_targets("train")) if data.task == REGRESSION else ()
