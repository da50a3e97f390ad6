"""Loads a model version from the registry for local inference."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from radiograft.backbones import get_backbone
from radiograft.evaluation import golden_predictions
from radiograft.explain import class_activation
from radiograft.imaging import dicom
from radiograft.imaging.decode import decode, encode_png, inspect_image
from radiograft.models.artifact import load_model
from radiograft.models.spec import SERVING_SIGNATURE, ModelSpec
from radiograft.registry import versions as registry

DICOM_PREFIX = slice(128, 132)


class Prediction(NamedTuple):
    """The prediction of one label.

    Attributes:
        label: name of the label.
        probability: 0 to 1.
        threshold: decision threshold; None if it could not be chosen on validation.
    """

    label: str
    probability: float
    threshold: float | None

    @property
    def called(self) -> bool | None:
        """Whether the label is predicted to be present; None without a threshold."""
        return None if self.threshold is None else self.probability >= self.threshold


class LoadedVersion:
    """A model version that was copied to a local folder.

    Attributes:
        spec: specification of the model.
    """

    def __init__(self, place: str, model: str, number: int, folder: Path) -> None:
        """Copies the version to `folder`, verifies the SHA-256 of each file and loads the SavedModel.

        Args:
            place: path or URI of the registry.
            model: name of the model.
            number: number of the version.
            folder: where the version is copied to.

        Raises:
            FileNotFoundError: there is no such version, or one of its files is missing.
            ValueError: a file was changed.
        """
        registry.fetch_version(place, model, number, registry.read_manifest(place, model, number)["files"], folder)
        self._extra = folder / registry.EXTRA_ASSETS
        self.spec = ModelSpec.read(self._extra)
        self._loaded = tf.saved_model.load(str(folder))  # a signature alone does not keep the variables alive

    @staticmethod
    def read_image(path: Path) -> bytes:
        """Reads an image file; DICOM is converted to PNG, PNG and JPEG are returned unchanged.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a supported image or too large.
        """
        content = path.read_bytes()
        try:
            if content[DICOM_PREFIX] == b"DICM":
                return encode_png(dicom.read(content).pixels)
            inspect_image(content)
            tf.io.decode_image(content, expand_animations=False)
        except tf.errors.InvalidArgumentError:
            raise ValueError(f"{path} must be a PNG, JPEG or DICOM radiograph: unreadable or truncated") from None
        except ValueError as error:
            raise ValueError(f"{path} must be a PNG, JPEG or DICOM radiograph: {error}") from None
        return content

    @staticmethod
    def worth_a_look(answers: Sequence[Prediction]) -> list[str]:
        """Returns the labels that are predicted to be present, or the most probable label if there are none."""
        called = [answer.label for answer in answers if answer.called]
        return called or [max(answers, key=lambda answer: answer.probability).label]

    def probabilities(self, content: bytes) -> np.ndarray:
        """Returns the probabilities, float32 [labels], of an encoded PNG or JPEG file, as TensorFlow Serving does."""
        outputs = self._loaded.signatures[SERVING_SIGNATURE](image_bytes=tf.constant([content]))
        probabilities: np.ndarray = outputs["probabilities"][0].numpy()
        return probabilities

    def answers(self, content: bytes) -> list[Prediction]:
        """Returns the prediction of each label for an encoded PNG or JPEG file."""
        thresholds: Mapping[str, float] = self.spec.thresholds or {}
        pairs = zip(self.spec.labels, self.probabilities(content), strict=True)
        return [Prediction(label, float(probability), thresholds.get(label)) for label, probability in pairs]

    def heat_map(self, content: bytes, label: str) -> bytes:
        """Returns the preprocessed image with the activation map of a label as an overlay, as a PNG file."""
        image = decode(tf.constant(content), self.spec.image_size).numpy()
        (heat,) = self._heat_maps.of(image[None], self.spec.labels.index(label))
        return class_activation.overlay(image, heat)

    @functools.cached_property
    def _heat_maps(self) -> class_activation.HeatMaps:
        return class_activation.HeatMaps(
            load_model(self._extra),
            tf.distribute.get_strategy(),
            self.spec.tensors,
            get_backbone(self.spec.backbone).taps,
        )

    def check_sample(self) -> float:
        """Predicts the stored sample images and returns the largest difference from the recorded probabilities.

        Raises:
            ValueError: the difference exceeds the recorded tolerance.
        """
        folder = self._extra / golden_predictions.FOLDER
        recorded = json.loads((folder / golden_predictions.ANSWERS).read_text())
        differences = [
            np.abs(self.probabilities((folder / name).read_bytes()) - expected).max()
            for name, expected in recorded["probabilities"].items()
        ]
        largest = float(max(differences))
        if not largest <= recorded["tolerance"]:
            raise ValueError(
                f"the sample's probabilities must be within {recorded['tolerance']:g} of the recorded ones, "
                f"got a difference of {largest:g}"
            )
        return largest
