"""A version as it serves: copied from the registry, loaded by TensorFlow and asked about images on this machine."""

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
    """A label's probability, and whether it is called, by its threshold; None where validation could choose none."""

    label: str
    probability: float
    threshold: float | None

    @property
    def called(self) -> bool | None:
        return None if self.threshold is None else self.probability >= self.threshold


class LoadedVersion:
    """A version in a folder of its own."""

    def __init__(self, place: str, model: str, number: int, folder: Path) -> None:
        """Copies the version to `folder`, each file's SHA-256 compared, and loads what serves it.

        Raises:
            FileNotFoundError: no such version, or a file of it is gone.
            ValueError: a file of it was changed.
        """
        registry.fetch_version(place, model, number, registry.read_manifest(place, model, number)["files"], folder)
        self._extra = folder / registry.EXTRA_ASSETS
        self.spec = ModelSpec.read(self._extra)
        self._loaded = tf.saved_model.load(str(folder))  # a signature alone would not keep the variables

    @staticmethod
    def read_image(path: Path) -> bytes:
        """A file as the model takes it: PNG and JPEG as they are, DICOM decoded and encoded as PNG.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: no such image, or too large a one.
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
        """The labels that are called; where none is, the most probable one."""
        called = [answer.label for answer in answers if answer.called]
        return called or [max(answers, key=lambda answer: answer.probability).label]

    def probabilities(self, content: bytes) -> np.ndarray:
        """float32 [labels] for an encoded PNG or JPEG file, by the signature that TensorFlow Serving uses."""
        answer = self._loaded.signatures[SERVING_SIGNATURE](image_bytes=tf.constant([content]))
        found: np.ndarray = answer["probabilities"][0].numpy()
        return found

    def answers(self, content: bytes) -> list[Prediction]:
        """`probabilities` label by label."""
        thresholds: Mapping[str, float] = self.spec.thresholds or {}
        found = zip(self.spec.labels, self.probabilities(content), strict=True)
        return [Prediction(label, float(value), thresholds.get(label)) for label, value in found]

    def heat_map(self, content: bytes, label: str) -> bytes:
        """The image as the network sees it, under the evidence that it finds for a label, as a PNG file."""
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
        """Asks about the stored sample and returns the largest difference to the recorded probabilities.

        Raises:
            ValueError: the difference is above the recorded tolerance.
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
