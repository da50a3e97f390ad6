"""Saves, loads and exports trained networks: Keras file, specification, training history and SavedModel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from radiograft.imaging.decode import decode
from radiograft.models.spec import IMAGES_SIGNATURE, SERVING_SIGNATURE, ModelSpec, TensorInfo
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
    """Loads a network in safe mode: layers must be built into Keras, and no code from the file is run.

    Raises:
        ValueError: the file is missing, malformed or contains other layers.
    """
    path = folder / file
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types, also for code in the file or a newer file format
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"{path} must be a Keras file with built-in layers only: {reason}") from error


def export_saved_model(model: keras.Model, spec: ModelSpec, folder: Path) -> None:
    """Writes a SavedModel that TensorFlow can serve without this package.

    Both signatures return the spec's outputs: probabilities float32 [n, labels].

    - `serving_default` takes `image_bytes`: string [n], encoded image files, decoded and resized as in preprocessing.
    - `pictures` takes `pictures`: float32 [n, image_size, image_size, channels], 0 to 255, rounded to integers.
    """
    ((_, image),) = spec.inputs.items()
    ((output, _),) = spec.outputs.items()

    def predict(images: tf.Tensor) -> tf.Tensor:
        return model(images, training=False)

    traced = tf.function(predict, input_signature=[_tensor_spec(image)])  # traced once for both signatures

    def serve_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(
            lambda content: decode(content, spec.image_input),
            image_bytes,
            fn_output_signature=tf.TensorSpec(image.shape[1:], tf.uint8),
        )
        return {output: traced(images)}

    def serve_images(pictures: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output: traced(tf.saturate_cast(tf.round(pictures), tf.uint8))}

    module = tf.Module()  # Keras's own ExportArchive would trace the network twice
    module.weights = [variable.value for variable in model.variables]
    functions = {SERVING_SIGNATURE: serve_files, IMAGES_SIGNATURE: serve_images}
    signatures = {
        name: tf.function(functions[name], input_signature=[_tensor_spec(info, key) for key, info in tensors.items()])
        for name, tensors in spec.signatures.items()
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _tensor_spec(info: TensorInfo, name: str | None = None) -> tf.TensorSpec:
    return tf.TensorSpec(info.shape, info.dtype, name=name)
