"""The model as it travels: Keras file, input contract, training history and the SavedModel that serves it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import keras
import tensorflow as tf

from radiograft.config import Preprocess
from radiograft.imaging.decode import decode
from radiograft.utils import json_io

SERVING_SIGNATURE = "serving_default"
IMAGES_SIGNATURE = "pictures"


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What the model expects and answers. `thresholds` by label are known to published models alone."""

    image_size: int
    labels: tuple[str, ...]
    backbone: str
    weights: str
    cut_off: str
    strategy: str
    input: str = "uint8 [n, image_size, image_size, 1], gray, 0 black to 255 white; normalized inside the model"
    serving_input: str = "image_bytes: string [n], encoded PNG or JPEG files"
    images_input: str = "images: float32 [n, image_size, image_size, 1], 0 black to 255 white"
    output: str = "probabilities: float32 [n, labels], each label for itself"
    purpose: str = "Research only. Not for diagnosis."
    thresholds: Mapping[str, float] | None = None

    def write(self, folder: Path) -> None:
        """Writes contract.json."""
        (folder / "contract.json").write_text(json.dumps(dataclasses.asdict(self), indent=2))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads contract.json.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it says something else.
        """
        path = folder / "contract.json"
        values = json_io.parse_json_object(path.read_bytes(), str(path))
        try:
            found = cls(**{**values, "labels": tuple(values["labels"])})
            found._check()
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} must say what the model expects, got something else: {error}") from error
        return found

    def _check(self) -> None:
        Preprocess(image_size=self.image_size)  # which knows what sizes there are
        if not self.labels or not all(isinstance(label, str) for label in self.labels):
            raise ValueError(f"labels must be names, got {self.labels}")
        if not isinstance(self.thresholds, Mapping | None):
            raise ValueError(f"thresholds must be numbers by label, got {self.thresholds}")


def save_model(folder: Path, model: keras.Model, contract: ModelSpec, history: Mapping[str, object]) -> None:
    """Writes model.keras, contract.json and history.json."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    contract.write(folder)
    (folder / "history.json").write_text(json.dumps(history, indent=2))


def load_model(folder: Path) -> keras.Model:
    """Loads model.keras in safe mode: built-in layers only, no code from the file.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    path = folder / "model.keras"
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds, for code in the file as for a file of another Keras
        told = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"{path} must be a network of Keras's own layers, got another file: {told}") from error


def export_saved_model(model: keras.Model, image_size: int, folder: Path) -> None:
    """Writes a SavedModel that needs nothing of ours; both signatures answer probabilities float32 [n, labels].

    - `serving_default`: image_bytes string [n], encoded files, which are decoded as preprocess does.
    - `images`: images float32 [n, image_size, image_size, 1], 0 to 255, rounded to whole numbers.
    """
    shape = [image_size, image_size, 1]

    def answer(images: tf.Tensor) -> tf.Tensor:
        return model(images, training=False)

    answer_once = tf.function(answer, input_signature=[tf.TensorSpec([None, *shape], tf.uint8)])  # traced for both

    def serve_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(
            lambda content: decode(content, image_size),
            image_bytes,
            fn_output_signature=tf.TensorSpec(shape, tf.uint8),
        )
        return {"probabilities": answer_once(images)}

    def serve_images(pictures: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": answer_once(tf.saturate_cast(tf.round(pictures), tf.uint8))}

    files = tf.TensorSpec([None], tf.string, name="image_bytes")
    images = tf.TensorSpec([None, *shape], tf.float32, name="pictures")
    module = tf.Module()  # Keras's own ExportArchive would trace the network twice
    module.weights = [variable.value for variable in model.variables]
    signatures = {
        SERVING_SIGNATURE: tf.function(serve_files, input_signature=[files]),
        IMAGES_SIGNATURE: tf.function(serve_images, input_signature=[images]),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
