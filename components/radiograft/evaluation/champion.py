"""Loads the production model (the champion) and predicts the test images with it, to compare the new model with.

A champion that cannot be compared is a reason against promotion, not an error: the run keeps its model as a candidate.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pyarrow.lib import ArrowException

from radiograft.config import RegistrySettings
from radiograft.config.data import MULTICLASS, REGRESSION
from radiograft.data import studies
from radiograft.data.catalog import prediction_frame
from radiograft.data.image_loader import LoadedImage, decode_in_order, decode_rows
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.promotion_gate import Champion
from radiograft.imaging.geometry import ImageInput
from radiograft.models import artifact
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.training.datasets import encode_rows, with_patient_data, with_views
from radiograft.utils import json_io

log = logging.getLogger(__name__)


SEEN_IMAGES_FILE = "seen.parquet"
BATCH_SIZE = 64
MAX_EXAMPLES = 3


class ChampionUnusableError(Exception):
    """The production model cannot be compared fairly. The message is the reason."""


class ChampionVersion(NamedTuple):
    """Files and metadata of the production version.

    Attributes:
        folder: folder with `model.keras`.
        spec: inputs and outputs of the model.
        seen: patient_id and md5 of the images used for training and validation.
        source: data source of these images.
    """

    folder: Path
    spec: ModelSpec
    seen: pd.DataFrame
    source: str


def record_seen_images(rows: pd.DataFrame, folder: Path) -> None:
    """Writes seen.parquet: patient_id and md5 of each training and validation image.

    The MD5 identifies an image even if another source, or de-identification, gives the patient another id.
    """
    rows.loc[rows["split"] != "test", ["patient_id", "md5"]].to_parquet(folder / SEEN_IMAGES_FILE, index=False)


def load_champion(
    settings: RegistrySettings, data: Shards, strategy: tf.distribute.Strategy, run_id: str
) -> Champion | None:
    """Loads the production model and predicts the test images.

    Args:
        settings: registry and model name.
        data: shards of the new model.
        strategy: devices to predict on.
        run_id: id of this run. A version that an earlier attempt of this run promoted is skipped.

    Returns:
        The champion with its predictions, or with the reason why it cannot be compared. None if no version is in
        production.
    """
    number = production.version_excluding_run(settings.publish_registry, settings.publish_model_name, run_id)
    if number is None:
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            predictions = _predict(_fetch(settings, number, Path(folder)), data, strategy)
    except ChampionUnusableError as error:
        log.warning("production version %d could not be compared: %s", number, error)
        return Champion(number, None, str(error))
    return Champion(number, predictions)


def _fetch(settings: RegistrySettings, number: int, folder: Path) -> ChampionVersion:
    """Copies the required files of a version, verifies their SHA-256 and reads the metadata."""
    names = ("model.keras", "contract.json", "lineage.json", SEEN_IMAGES_FILE)
    paths = [f"{registry.EXTRA_ASSETS}/{name}" for name in names]
    try:
        registry.fetch_version(settings.publish_registry, settings.publish_model_name, number, paths, folder)
        return _read(folder / registry.EXTRA_ASSETS)
    except (FileNotFoundError, LookupError, TypeError, ValueError) as error:
        raise ChampionUnusableError(f"it is corrupt or incomplete ({error})") from error


def _read(extra: Path) -> ChampionVersion:
    spec = ModelSpec.read(extra)
    try:
        seen = pd.read_parquet(extra / SEEN_IMAGES_FILE, columns=["patient_id", "md5"])
    except (OSError, ArrowException) as error:
        raise ValueError(f"{SEEN_IMAGES_FILE} must be a Parquet file with patient_id and md5: {error}") from error
    source = str(json_io.parse_json_object((extra / "lineage.json").read_bytes(), "lineage.json")["source"])
    return ChampionVersion(extra, spec, seen, source)


def _predict(version: ChampionVersion, data: Shards, strategy: tf.distribute.Strategy) -> pd.DataFrame:
    test = data.split("test")
    if set(version.spec.labels) != set(data.labels):
        raise ChampionUnusableError(
            f"it must predict the labels of this run, {', '.join(data.labels)}, got {', '.join(version.spec.labels)}"
        )
    _check_no_test_patient_seen(version, test, data.summary["source"])
    if (version.spec.is_exclusive, version.spec.is_numeric) != (data.task == MULTICLASS, data.task == REGRESSION):
        raise ChampionUnusableError(
            f"it must have been trained with data_task={data.task} as this run, got {version.spec.task}; publish "
            "models of another task under another publish_model_name"
        )
    log.debug("production model: predicting test")
    with strategy.scope():
        predictor = Predictor(_load(version), strategy)
    if version.spec.image_input == data.image_input:
        samples = with_views(with_patient_data(data, version.spec.covariates), version.spec.lateral)
        scores = predictor.predict(samples.inputs("test", BATCH_SIZE))
    else:
        scores = _predict_own_inputs(predictor, test, version.spec, data.image_size)
    return prediction_frame(test, version.spec.labels, scores)


def _check_no_test_patient_seen(version: ChampionVersion, test: pd.DataFrame, source: str) -> None:
    """Rejects a model that was trained or validated on a test patient, because its test AUROC would be optimistic."""
    same_image = test["md5"].isin(version.seen["md5"])
    leaked = test["patient_id"][same_image | test["patient_id"].isin(version.seen["patient_id"])].unique()
    if not len(leaked):
        return
    count = f"{len(leaked)} of the {test['patient_id'].nunique()} test patients"
    examples = f"including {' and '.join(leaked[:MAX_EXAMPLES])}"
    if same_image.any() or version.source == source:
        raise ChampionUnusableError(
            f"it was trained or validated on {count}, {examples}; use test patients that neither model has seen"
        )
    # Equal ids in different sources may be different patients, or the same ones if the data were moved.
    raise ChampionUnusableError(
        f"it was trained or validated, on another source, on patients with the same id as {count}, {examples}; use "
        "test patients that neither model has seen, or publish models of other data under another publish_model_name"
    )


def _load(version: ChampionVersion) -> keras.Model:
    try:
        model = artifact.load_model(version.folder)
    except Exception as error:  # Keras raises various types, for unsafe code and for files of other Keras versions
        reason = str(error).strip().splitlines()[0]
        raise ChampionUnusableError(f"its model.keras cannot be loaded ({reason})") from error
    shapes = (*(tensor.shape for tensor in model.inputs), model.output_shape)
    predicted = version.spec.outputs[version.spec.predicted]
    required = (*(info.shape for info in version.spec.inputs.values()), predicted.shape)
    if shapes != required:
        raise ChampionUnusableError(
            f"its network must map {' to '.join(map(str, required))}, got {' to '.join(map(str, shapes))}"
        )
    return model


def _predict_own_inputs(predictor: Predictor, test: pd.DataFrame, spec: ModelSpec, size: int) -> np.ndarray:
    """Predicts the original images, converted as the production model expects them, with its other inputs."""
    failures: list[str] = []  # TensorFlow would pass on an exception of the generator only as text
    target = spec.image_input
    sources = [decode_rows(test, target), *([_decode_laterals(test, target)] if spec.lateral else [])]

    def images() -> Iterator[tuple[np.ndarray, ...]]:
        try:
            for image_id, *loaded in zip(test["image_id"], *sources, strict=True):
                pixels = tuple(each.image for each in loaded if each.image is not None)
                if len(pixels) < len(loaded):
                    failures.append(f"{image_id}: {next(each.reason for each in loaded if each.image is None)}")
                    return
                yield pixels
        except (FileNotFoundError, ValueError) as error:  # raised for an archive that holds all images
            failures.append(str(error))

    image = tf.TensorSpec((target.size, target.size, target.channels), tf.uint8)
    samples = tf.data.Dataset.from_generator(images, output_signature=(image,) * len(sources))
    if spec.covariates:
        patient = tf.data.Dataset.from_tensor_slices(encode_rows(test, spec.covariates))
        samples = tf.data.Dataset.zip((samples, patient)).map(lambda loaded, values: (*loaded, values))
    samples = samples.map(lambda *loaded: loaded if len(loaded) > 1 else loaded[0])
    scores = list(predictor.iter_outputs(samples.batch(BATCH_SIZE)))
    if failures:
        own = f"input size is {target.size} pixels" if target.size != size else "images are converted in another way"
        raise ChampionUnusableError(f"its {own}, and the original images cannot be read again ({failures[0]})")
    return np.concatenate(scores)


def _decode_laterals(test: pd.DataFrame, target: ImageInput) -> Iterator[LoadedImage]:
    """Yields the lateral image of each row, zeros if it is missing."""
    missing = LoadedImage(np.zeros((target.size, target.size, target.channels), "uint8"), "")
    if "lateral" not in test:
        return itertools.repeat(missing, len(test))
    decoded = decode_in_order(studies.images_of(test)[len(test) :], target)
    return (next(decoded) if has_lateral else missing for has_lateral in test["lateral"].notna())
