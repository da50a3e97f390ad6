"""Saves, loads and exports trained networks: Keras file, specification, training history and SavedModel."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from radiograft.imaging.decode import decode
from radiograft.imaging.enlarging import load_enlarger
from radiograft.imaging.geometry import ImageInput
from radiograft.models import class_maps  # noqa: F401  registers its layer
from radiograft.models.covariates import MAX_DEVIATIONS, Covariate, input_shape
from radiograft.models.feature_layers import pooled_features
from radiograft.models.out_of_distribution import FeatureDistribution
from radiograft.models.spec import (
    IMAGES_SIGNATURE,
    OOD_DISTANCE,
    OOD_FLAG,
    SAMPLES_SIGNATURE,
    SERVING_SIGNATURE,
    ModelSpec,
    TensorInfo,
)
from radiograft.registry.training_types import BranchStage

MODEL = "model.keras"
BRANCHES, BRANCH_STAGES = "branches.keras", "branches.json"  # of an attention-guided network, for its evaluation


def save_model(folder: Path, model: keras.Model, spec: ModelSpec, history: Mapping[str, Any]) -> None:
    """Writes model.keras, contract.json and history.json to `folder`.

    Args:
        folder: created if it does not exist.
        model: the network.
        spec: its specification.
        history: fields of `radiograft.training.history.History`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / MODEL)
    spec.write(folder)
    (folder / "history.json").write_text(json.dumps(history, indent=2))


def save_branches(folder: Path, comparison: keras.Model, stages: Sequence[BranchStage]) -> None:
    """Writes the branches of an attention-guided network to `folder`: branches.keras and branches.json.

    Args:
        folder: created if it does not exist.
        comparison, stages: see `radiograft.training.attention.TrainedBranches`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    comparison.save(folder / BRANCHES)
    (folder / BRANCH_STAGES).write_text(json.dumps(stages, indent=2))


def read_branch_stages(folder: Path) -> list[BranchStage]:
    """Reads branches.json; returns an empty list if the network has no branches."""
    path = folder / BRANCH_STAGES
    stages: list[BranchStage] = json.loads(path.read_text()) if path.exists() else []
    return stages


def load_model(folder: Path, file: str = MODEL) -> keras.Model:
    """Loads a network in safe mode: layers must be of Keras or this package, and no code of the file is run.

    Raises:
        ValueError: the file is missing, malformed or contains other layers.
    """
    path = folder / file
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types, also for code in the file or a newer file format
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"{path} must be a Keras file with built-in layers only: {reason}") from error


def export_saved_model(
    model: keras.Model, spec: ModelSpec, folder: Path, distribution: FeatureDistribution | None = None
) -> None:
    """Writes a SavedModel that TensorFlow can serve without this package.

    All signatures return the spec's outputs: probabilities or values, float32 [n, labels], and, if the distribution of
    the features is given, the distance of each image from it, float32 [n], and whether it is out of distribution,
    bool [n].

    - `serving_default` takes `image_bytes`: string [n], encoded image files, decoded and resized as in preprocessing.
    - `pictures` takes `pictures`: float32 [n, image_size, image_size, channels], 0 to 255, rounded to integers.
    - `samples`, if the network has further inputs, takes `image_bytes` and their raw values; in the other two they are
      missing.
    """
    _, *further = spec.inputs.values()
    answer = _answering(model, spec, distribution)

    def predict(images: tf.Tensor, *others: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer([images, *others] if others else images)

    inputs = [_tensor_spec(info) for info in spec.inputs.values()]
    traced = tf.function(predict, input_signature=inputs)  # traced once for all signatures

    def answered(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(traced(*tensors))

    def missing(images: tf.Tensor) -> list[tf.Tensor]:
        return [tf.zeros([tf.shape(images)[0], *info.shape[1:]], info.dtype) for info in further]

    def serve_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images = _decode_files(image_bytes, spec.image_input)
        return answered(images, *missing(images))

    def serve_images(pictures: tf.Tensor) -> dict[str, tf.Tensor]:
        return answered(tf.saturate_cast(tf.round(pictures), tf.uint8), *missing(pictures))

    def serve_samples(image_bytes: tf.Tensor, *values: tf.Tensor) -> dict[str, tf.Tensor]:
        lateral, raw = values[: spec.lateral], values[spec.lateral :]
        patient = [encode_tensors(spec.covariates, raw)] if spec.covariates else []
        laterals = [_decode_laterals(files, spec.image_input) for files in lateral]
        return answered(_decode_files(image_bytes, spec.image_input), *laterals, *patient)

    module = tf.Module()  # Keras's own ExportArchive would trace the network twice
    module.weights = [variable.value for variable in model.variables]
    if spec.enlarged_by:
        module.enlarger = load_enlarger(spec.enlarged_by)  # `decode` uses its variables
    functions = {SERVING_SIGNATURE: serve_files, IMAGES_SIGNATURE: serve_images, SAMPLES_SIGNATURE: serve_samples}
    signatures = {
        name: tf.function(functions[name], input_signature=[_tensor_spec(info, key) for key, info in tensors.items()])
        for name, tensors in spec.signatures.items()
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _decode_files(contents: tf.Tensor, target: ImageInput) -> tf.Tensor:
    """Decodes encoded image files, string [n], to uint8 [n, size, size, channels]."""
    output = tf.TensorSpec([target.size, target.size, target.channels], tf.uint8)
    return tf.map_fn(lambda content: decode(content, target), contents, fn_output_signature=output)


def _decode_laterals(contents: tf.Tensor, target: ImageInput) -> tf.Tensor:
    """Decodes image files as `_decode_files`; a missing one, which is empty, gives zeros."""
    shape = [target.size, target.size, target.channels]
    return tf.map_fn(
        lambda content: tf.cond(
            tf.strings.length(content) > 0, lambda: decode(content, target), lambda: tf.zeros(shape, tf.uint8)
        ),
        contents,
        fn_output_signature=tf.TensorSpec(shape, tf.uint8),
    )


def _answering(
    model: keras.Model, spec: ModelSpec, distribution: FeatureDistribution | None
) -> Callable[[Any], dict[str, tf.Tensor]]:
    """Returns the function from the network's inputs to the outputs of the spec."""
    if distribution is None:
        return lambda inputs: {spec.predicted: model(inputs, training=False)}
    both = keras.Model(model.inputs, [model.output, pooled_features(model, spec.tensors)])

    def answer(inputs: Any) -> dict[str, tf.Tensor]:
        predicted, features = both(inputs, training=False)
        distances = distribution.distances(features)
        return {spec.predicted: predicted, OOD_DISTANCE: distances, OOD_FLAG: distances > distribution.threshold}

    return answer


def encode_tensors(covariates: Sequence[Covariate], values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Encodes raw patient data in the graph; gives the same as `radiograft.models.covariates.encode_covariates`.

    Args:
        covariates: encodings.
        values: one tensor [n] for each, float32 numbers or string categories.
    """
    rows = input_shape(covariates)[0]
    columns = []
    for covariate, value in zip(covariates, values, strict=True):
        if covariate.is_numeric:
            known = tf.math.is_finite(value)
            scaled = tf.clip_by_value((value - covariate.mean) / covariate.deviation, -MAX_DEVIATIONS, MAX_DEVIATIONS)
            column = tf.stack([tf.cast(known, tf.float32), tf.where(known, scaled, 0.0)], axis=1)
        else:
            folded = tf.strings.lower(tf.strings.strip(value), encoding="utf-8")
            one_hot = tf.cast(folded[:, None] == tf.constant(covariate.categories), tf.float32)
            column = tf.concat([tf.reduce_max(one_hot, axis=1, keepdims=True), one_hot], axis=1)
        columns.append(tf.pad(column, [[0, 0], [0, rows - column.shape[1]]]))
    return tf.stack(columns, axis=2)


def _tensor_spec(info: TensorInfo, name: str | None = None) -> tf.TensorSpec:
    return tf.TensorSpec(info.shape, info.dtype, name=name)
