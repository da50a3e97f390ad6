"""A published version, loaded with TensorFlow on this machine, and its predictions for image files."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.backbones import get_backbone
from radiograft.evaluation import predictions
from radiograft.explain import class_activation
from radiograft.imaging.burned_note import with_note
from radiograft.imaging.decode import as_served, decode, inspect_image
from radiograft.models.artifact import load_model
from radiograft.models.covariates import parse_values
from radiograft.models.spec import OOD_DISTANCE, OOD_FLAG, SAMPLES_SIGNATURE, SERVING_SIGNATURE, ModelSpec
from radiograft.registry import generators, versions
from radiograft.serving.predictions import Distance, Prediction, TargetValue, decide
from radiograft.serving.training_images import TrainingImages

ENLARGED_NOTE = "Enlarged by a network: detail is an estimate. Research only. Not for diagnosis."


class LoadedVersion:
    """A version of a registry, copied to a local folder with every SHA-256 verified.

    Attributes:
        spec: specification of the model: labels, image size, thresholds.
        training_images: what the version records of the images it was made from; its `warnings` hold for every
            prediction, for example that the images were synthetic.
    """

    def __init__(self, registry: str, model: str, number: int, folder: Path | None = None) -> None:
        """Copies the version to `folder`, by default a temporary one that is removed with this object, and loads it.

        Raises:
            FileNotFoundError: the version or one of its files is missing.
            ValueError: a file does not match the manifest, or the version is a generator of super-resolution.
        """
        generators.check_classifier(registry, model, number)
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="radiograft-version-")
            folder = Path(self._temporary.name)
        names = versions.read_manifest(registry, model, number)["files"]
        versions.fetch_version(registry, model, number, names, folder)
        self._extra = folder / versions.EXTRA_ASSETS
        self.spec = ModelSpec.read(self._extra)
        self.training_images = TrainingImages.read(self._extra)
        self._loaded = tf.saved_model.load(str(folder))  # a signature alone would not keep the variables

    def predict(
        self,
        files: Iterable[str | Path],
        patient_data: Mapping[str, float | str] | None = None,
        lateral: str | Path | None = None,
    ) -> pd.DataFrame:
        """Predicts all labels of image files.

        Args:
            files: paths of PNG, JPEG, DICOM, TIFF, BMP, GIF or WebP files.
            patient_data: values by name that hold for all files, such as `{"age": 63, "sex": "F"}`, if the model reads
                patient data; those left out are missing.
            lateral: lateral image of the same study, if the model reads one; `files` is then a single frontal image.

        Returns:
            If the targets are numbers, one row a file and target with the columns `file`, `label`, `value` and `note`.
            Else one row a file and label with the columns `file`, `label`, `probability` (0 to 1), `threshold` (from
            validation, NaN if there is none), `positive` (see `Prediction`; NA for None) and `note`: why the prediction
            may not hold, because the version was made from synthetic images, or the image differs from the development
            images in kind, size or gray values; empty if no reason is known.

        Raises:
            FileNotFoundError: a file does not exist.
            ValueError: a file is not an image that can be decoded, patient data are invalid, or a lateral image is
                given for several files or for a model that does not read it.
        """
        files, rows = list(files), list[tuple[object, ...]]()
        if lateral is not None and len(files) != 1:
            raise ValueError(f"lateral must come with one file, the frontal image of its study, got {len(files)} files")
        side = b"" if lateral is None else self.read_image(Path(lateral))
        values = {name: str(value) for name, value in (patient_data or {}).items()}
        for file in files:
            content = self.read_image(Path(file))
            note = "; ".join([*self.training_images.warnings, *self.compare_with_training(content)])
            if self.spec.is_numeric:
                rows += [(str(file), *each, note) for each in self.predict_values(content, values, side)]
            else:
                rows += [(str(file), *each, note) for each in self.predict_image(content, values, side)]
        if self.spec.is_numeric:
            return pd.DataFrame(rows, columns=["file", "label", "value", "note"])
        table = pd.DataFrame(rows, columns=["file", "label", "probability", "threshold", "positive", "note"])
        return table.astype({"threshold": "float64", "positive": "boolean"})

    def read_image(self, path: Path) -> bytes:
        """Reads an image file as the model takes it: PNG and JPEG unchanged, other images decoded and encoded as PNG.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is not a radiograph that can be read, is corrupt, or is too large.
        """
        content = path.read_bytes()
        try:
            content = as_served(content, self.spec.channels).content
            inspect_image(content)
            tf.io.decode_image(content, expand_animations=False)
        except tf.errors.InvalidArgumentError:
            raise ValueError(f"{path} must be a PNG, JPEG or DICOM radiograph: unreadable or truncated") from None
        except ValueError as error:
            raise ValueError(f"{path} must be a PNG, JPEG or DICOM radiograph: {error}") from None
        return content

    def probabilities(
        self, content: bytes, patient_data: Mapping[str, str] | None = None, lateral: bytes = b""
    ) -> np.ndarray:
        """Returns float32 [labels] for an encoded PNG or JPEG file, by a signature that TensorFlow Serving uses.

        If the targets are numbers, these are returned instead of probabilities.

        Args:
            content: of the file.
            patient_data: text by name, see `radiograft.models.covariates.parse_values`.
            lateral: content of the file with the lateral image; empty if it is missing.

        Raises:
            ValueError: patient data are invalid, or the model does not read a lateral image.
        """
        inputs = {"image_bytes": tf.constant([content])}
        if not patient_data and not lateral:
            return self._serve(SERVING_SIGNATURE, inputs)
        if lateral and not self.spec.lateral:
            raise ValueError(
                "lateral must be empty, since the model reads frontal images only, got an image: leave it out"
            )
        values = parse_values(self.spec.covariates, patient_data or {})
        inputs |= {"lateral_bytes": tf.constant([lateral])} if self.spec.lateral else {}
        inputs |= {each.served_name: tf.constant([values[each.name]]) for each in self.spec.covariates}
        return self._serve(SAMPLES_SIGNATURE, inputs)

    def _serve(self, signature: str, inputs: Mapping[str, tf.Tensor]) -> np.ndarray:
        (output, *_) = self.spec.outputs
        predicted: np.ndarray = self._loaded.signatures[signature](**inputs)[output][0].numpy()
        return predicted

    def predict_image(
        self, content: bytes, patient_data: Mapping[str, str] | None = None, lateral: bytes = b""
    ) -> list[Prediction]:
        """Returns the prediction of each label for an encoded PNG or JPEG file.

        Raises:
            ValueError: as `probabilities`, or the targets are numbers, see `predict_values`.
        """
        if self.spec.is_numeric:
            raise ValueError("the version must predict labels, got numbers: use predict_values")
        return decide(self.spec, self.probabilities(content, patient_data, lateral))

    def predict_values(
        self, content: bytes, patient_data: Mapping[str, str] | None = None, lateral: bytes = b""
    ) -> list[TargetValue]:
        """Returns the predicted number of each target for an encoded PNG or JPEG file.

        Raises:
            ValueError: the version predicts labels, see `predict_image`.
        """
        if not self.spec.is_numeric:
            raise ValueError("the version must predict numbers, got labels: use predict_image")
        values = map(float, self.probabilities(content, patient_data, lateral))
        return [TargetValue(*pair) for pair in zip(self.spec.labels, values, strict=True)]

    def compare_with_training(self, content: bytes) -> list[str]:
        """Returns how an encoded PNG or JPEG file differs from the development images: kind, size, values, features."""
        image = decode(tf.constant(content), self.spec.image_input).numpy()
        distance = self.measure_distance(content)
        unlike = (
            [f"out of distribution: distance {distance.ood_distance:.4g} exceeds {self.spec.ood_threshold:.4g}"]
            if distance and distance.is_out_of_distribution
            else []
        )
        return [*self.training_images.describe_differences(content, image), *unlike]

    def measure_distance(self, content: bytes) -> Distance | None:
        """Returns how far an encoded PNG or JPEG file is from the training images; None if the version has no flag."""
        return None if self.spec.ood_threshold is None else self.measure_distances([content])[0]

    def measure_distances(self, contents: Sequence[bytes]) -> list[Distance]:
        """Returns the distances of several files from the training images; the version must have the flag."""
        outputs = self._loaded.signatures[SERVING_SIGNATURE](image_bytes=tf.constant(contents))
        return list(map(Distance, outputs[OOD_DISTANCE].numpy().tolist(), outputs[OOD_FLAG].numpy().tolist()))

    @staticmethod
    def labels_to_explain(predictions: Sequence[Prediction]) -> list[str]:
        """Returns the positive labels, of exclusive classes one; if there are none, the most probable label."""
        positive = [prediction.label for prediction in predictions if prediction.positive]
        return positive or [max(predictions, key=lambda prediction: prediction.probability).label]

    def heat_map(self, content: bytes, label: str) -> bytes:
        """Returns a PNG file: the image at the model's size, overlaid with the Grad-CAM map of a label.

        Patient data are missing in it. If a network enlarged the image, a note below it says so.
        """
        image = decode(tf.constant(content), self.spec.image_input).numpy()
        (heat,) = self._heat_maps.grad_cam(image[None], self.spec.labels.index(label))
        if self.spec.enlarged_by:
            return with_note(class_activation.blend(image, heat), ENLARGED_NOTE)
        return class_activation.overlay(image, heat)

    @functools.cached_property
    def _heat_maps(self) -> class_activation.HeatMaps:
        blocks = get_backbone(self.spec.backbone).taps
        return class_activation.HeatMaps(
            load_model(self._extra), tf.distribute.get_strategy(), self.spec.tensors, blocks
        )

    def verify_golden_predictions(self) -> float:
        """Predicts the stored synthetic images; returns the largest difference from the recorded probabilities.

        Raises:
            ValueError: the difference exceeds the recorded tolerance.
        """
        folder = self._extra / predictions.GOLDEN_FOLDER
        recorded = json.loads((folder / predictions.PROBABILITIES_FILE).read_text())
        expected: list[tuple[str, dict[str, str], bytes, list[float]]] = [
            (name, {}, b"", values) for name, values in recorded["probabilities"].items()
        ]
        for name, sample in recorded.get("samples", {}).items():
            patient_data = {column: str(value) for column, value in sample["patient_data"].items()}
            lateral = (folder / sample["lateral"]).read_bytes() if "lateral" in sample else b""
            expected.append((name, patient_data, lateral, sample["probabilities"]))
        differences = [
            np.abs(self.probabilities((folder / name).read_bytes(), patient_data, lateral) - probabilities).max()
            for name, patient_data, lateral, probabilities in expected
        ]
        largest = float(max(differences))
        if not largest <= recorded["tolerance"]:
            raise ValueError(
                f"the sample's probabilities must be within {recorded['tolerance']:g} of the recorded ones, "
                f"got a difference of {largest:g}"
            )
        return largest


def load_version(uri: str | Path) -> LoadedVersion:
    """Loads a published version from a registry.

    The version is copied to a temporary folder, which is removed with the returned object. Every SHA-256 is verified.

    Args:
        uri: REGISTRY/MODEL/NUMBER as a path, gs:// or s3:// URI.

    Raises:
        FileNotFoundError: the version or one of its files is missing.
        ValueError: the URI is not that of a classifier's version, or a file does not match the manifest.

    Example:
        >>> version = load_version("registry/chest-radiograph/3")  # doctest: +SKIP
        >>> version.predict(["film.png"])  # doctest: +SKIP
               file      label  probability  threshold  positive note
        0  film.png  Pneumonia     0.123456        0.5     False
    """
    return LoadedVersion(*generators.parse_version_uri("uri", str(uri)))
