"""Predictions of both training strategies on validation and test."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.data.catalog import prediction_frame
from radiograft.data.shards.dataset import Shards
from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.imaging.decode import decode, encode_png
from radiograft.imaging.geometry import GRAY, Enlargement, ImageInput
from radiograft.models import artifact
from radiograft.models.covariates import Covariate, encode_covariates
from radiograft.models.lateral import has_lateral
from radiograft.models.predictor import Predictor
from radiograft.models.spec import TargetScale

log = logging.getLogger(__name__)


BATCH_SIZE = 64
PUBLISHED = "fine_tuning"

GOLDEN_FOLDER = "sample"
PROBABILITIES_FILE = "probabilities.json"
GOLDEN_IMAGES = 6
GOLDEN_SIZE = 256  # pixels; the served model resizes them, as it does any image
# Maximum absolute difference by compute dtype, since processors round differently. Measured for EfficientNet-Lite0
# against float32: 0.006 in float16 and 0.073 in bfloat16. On GPUs, float32 products use TF32, with a float16 mantissa.
TOLERANCES = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}


class EvaluateInputs(NamedTuple):
    """Folders of the artifacts that earlier stages wrote."""

    shards: Path
    features: Path
    feature_model: Path
    model: Path

    @property
    def models(self) -> dict[str, Path]:
        """Folder of the model of each strategy."""
        return {"feature_extraction": self.feature_model, PUBLISHED: self.model}

    def histories(self) -> dict[str, dict[str, Any]]:
        """Reads the training history of each strategy, as `artifact.save` writes it."""
        return {name: json.loads((folder / "history.json").read_text()) for name, folder in self.models.items()}

    def epochs_of(self, kind: str) -> dict[str, list[int]]:
        """Returns the epochs whose mean was kept, of the strategies that have some.

        Args:
            kind: `averaged_epochs` for mean weights, `distilled_epochs` for mean predictions.
        """
        listed = {name: history.get(kind, []) for name, history in self.histories().items()}
        return {name: epochs for name, epochs in listed.items() if epochs}


def load_predictors(inputs: EvaluateInputs, strategy: tf.distribute.Strategy) -> dict[str, Predictor]:
    """Loads the model of each strategy in the scope of the distribution strategy."""
    with strategy.scope():
        return {name: Predictor(artifact.load_model(folder), strategy) for name, folder in inputs.models.items()}


def predict_splits(predictors: dict[str, Predictor], data: Shards) -> pd.DataFrame:
    """Predicts validation and test with every model.

    Returns:
        The rows of `prediction_frame` with an additional column `strategy`.
    """
    frames = []
    for name, predictor in predictors.items():
        for split in ("validation", "test"):
            log.debug("%s: predicting %s", name.replace("_", " "), split)
            scores = predictor.predict(data.inputs(split, BATCH_SIZE))
            frames.append(prediction_frame(data.split(split), data.labels, scores).assign(strategy=name))
    return pd.concat(frames, ignore_index=True)


def color_phantom(content: bytes) -> bytes:
    """Returns a PNG file whose red is the gray image of a PNG file, green its mirror image and blue its negative.

    No two channels are equal, so that predictions show in which order a model reads them.
    """
    gray = tf.io.decode_png(content, channels=GRAY).numpy()
    return encode_png(np.concatenate([gray, gray[:, ::-1], 255 - gray], axis=-1))


def write_golden_predictions(
    predictor: Predictor,
    folder: Path,
    covariates: Sequence[Covariate] = (),
    scales: Sequence[TargetScale] = (),
    enlarged_by: Enlargement | None = None,
) -> None:
    """Writes PNG files, the predicted probabilities and the tolerance to the folder `sample`.

    If the network reads patient data or a lateral image, the probabilities with invented values, and with the next file
    as the lateral image, are written too.

    Args:
        predictor: the published network.
        folder: where the folder is created.
        covariates: patient data that the network reads.
        scales: standard deviations of the outputs if they are numbers; the tolerance grows with the largest.
        enlarged_by: the network that enlarges the images.
    """
    _, _, size, channels = predictor.model.inputs[0].shape
    target = ImageInput(size, channels=channels, enlarged_by=enlarged_by)  # the files are square and have 8 bits
    phantoms = itertools.islice(generate_phantom_files(GOLDEN_IMAGES, seed=0, size=GOLDEN_SIZE), GOLDEN_IMAGES)
    files = [content if channels == GRAY else color_phantom(content) for _, content in phantoms]
    images = np.stack([decode(tf.constant(content), target).numpy() for content in files])
    probabilities = predictor.predict(tf.data.Dataset.from_tensors(images))
    sample = folder / GOLDEN_FOLDER
    sample.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(files):
        (sample / f"{number}.png").write_bytes(content)
    unit = max((scale.deviation for scale in scales), default=1.0)
    expected: dict[str, Any] = {
        "probabilities": {f"{number}.png": row.astype(float).tolist() for number, row in enumerate(probabilities)},
        "tolerance": unit * max(TOLERANCES[layer.compute_dtype] for layer in predictor.model.layers),
    }
    if covariates or has_lateral(predictor.model):
        expected["samples"] = _golden_samples(predictor, images, covariates)
    (sample / PROBABILITIES_FILE).write_text(json.dumps(expected, indent=2))


def _golden_samples(
    predictor: Predictor, images: np.ndarray, covariates: Sequence[Covariate]
) -> dict[str, dict[str, Any]]:
    """Returns the patient data and lateral image that are invented for each file, and the probabilities with them."""
    values = [{each.name: each.example(number) for each in covariates} for number in range(len(images))]
    inputs, samples = [images], [dict[str, Any](patient_data=row) for row in values]
    if has_lateral(predictor.model):
        inputs.append(np.roll(images, -1, axis=0))
        for number, sample in enumerate(samples):
            sample["lateral"] = f"{(number + 1) % len(images)}.png"
    if covariates:
        columns = {each.name: [row[each.name] for row in values] for each in covariates}
        inputs.append(encode_covariates(covariates, columns))
    probabilities = predictor.predict(tf.data.Dataset.from_tensors(tuple(inputs)))
    return {
        f"{number}.png": {**sample, "probabilities": predicted.astype(float).tolist()}
        for number, (sample, predicted) in enumerate(zip(samples, probabilities, strict=True))
    }
