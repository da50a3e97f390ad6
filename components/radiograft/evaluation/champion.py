"""The production version as the new model's opponent: fetched, checked, and asked about the same test images.

Whatever is wrong with it is a reason not to promote, never an error: the run keeps its model as a candidate.
"""

from __future__ import annotations

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
from radiograft.data.catalog import prediction_frame
from radiograft.data.image_loader import decode_rows
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.promotion_gate import Champion
from radiograft.models import artifact
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.utils import json_io

log = logging.getLogger(__name__)


SEEN_IMAGES_FILE = "seen.parquet"
BATCH_SIZE = 64
MAX_EXAMPLES = 3


class ChampionUnusableError(Exception):
    """The production version cannot be compared fairly; the message is the reason."""


class ChampionVersion(NamedTuple):
    """What a version tells of itself; `seen` are patient_id and md5 of the images that chose its weights, which came
    from `source`."""

    folder: Path
    spec: ModelSpec
    seen: pd.DataFrame
    source: str


def record_seen_images(rows: pd.DataFrame, folder: Path) -> None:
    """Writes seen.parquet, which travels with the version: patient_id and md5 of each training and validation image.

    The MD5s tell the same images where another source, or de-identification, calls the patients something else.
    """
    rows.loc[rows["split"] != "test", ["patient_id", "md5"]].to_parquet(folder / SEEN_IMAGES_FILE, index=False)


def load_champion(
    settings: RegistrySettings, data: Shards, strategy: tf.distribute.Strategy, run_id: str
) -> Champion | None:
    """The production version with its predictions on the test images, or with the reason why there are none.

    None where nothing is in production yet, but for what this run itself put there in an attempt before.
    """
    number = production.version_excluding_run(settings.publish_registry, settings.publish_model_name, run_id)
    if number is None:
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            predictions = _predict(_fetch(settings, number, Path(folder)), data, strategy)
    except ChampionUnusableError as refusal:
        log.warning("version %d, in production, could not be compared: %s", number, refusal)
        return Champion(number, None, str(refusal))
    return Champion(number, predictions)


def _fetch(settings: RegistrySettings, number: int, folder: Path) -> ChampionVersion:
    """Copies what is needed of a version, SHA-256 compared, and reads all but the network."""
    names = [
        f"{registry.EXTRA_ASSETS}/{name}" for name in ("model.keras", "contract.json", "lineage.json", SEEN_IMAGES_FILE)
    ]
    extra = folder / registry.EXTRA_ASSETS
    try:
        registry.fetch_version(settings.publish_registry, settings.publish_model_name, number, names, folder)
        return _read(extra)
    except (FileNotFoundError, LookupError, TypeError, ValueError) as error:
        raise ChampionUnusableError(f"it is damaged or incomplete ({error})") from error


def _read(extra: Path) -> ChampionVersion:
    spec = ModelSpec.read(extra)
    try:
        seen = pd.read_parquet(extra / SEEN_IMAGES_FILE, columns=["patient_id", "md5"])
    except (OSError, ArrowException) as error:
        raise ValueError(f"{SEEN_IMAGES_FILE} is no table of patients: {error}") from error
    source = str(json_io.parse_json_object((extra / "lineage.json").read_bytes(), "lineage.json")["source"])
    return ChampionVersion(extra, spec, seen, source)


def _predict(version: ChampionVersion, data: Shards, strategy: tf.distribute.Strategy) -> pd.DataFrame:
    test = data.split("test")
    if set(version.spec.labels) != set(data.labels):
        raise ChampionUnusableError(
            f"it must answer for the labels of this run, {', '.join(data.labels)}, got {', '.join(version.spec.labels)}"
        )
    _check_no_test_patient_seen(version, test, data.summary["source"])
    log.debug("production version: predicting test")
    with strategy.scope():
        predictor = Predictor(_load(version), strategy)
    if version.spec.image_size == data.image_size:
        scores = predictor.predict(data.images("test", BATCH_SIZE))
    else:
        scores = _predict_at_own_size(predictor, test, version.spec.image_size)
    return prediction_frame(test, version.spec.labels, scores)


def _check_no_test_patient_seen(version: ChampionVersion, test: pd.DataFrame, source: str) -> None:
    """A model's answers on what it learned from, or was chosen on, say little about its answers to others."""
    same_image = test["md5"].isin(version.seen["md5"])
    leaking = test["patient_id"][same_image | test["patient_id"].isin(version.seen["patient_id"])].unique()
    if not len(leaking):
        return
    told = f"{len(leaking)} of the {test['patient_id'].nunique()} test patients"
    named = f"{' and '.join(leaking[:MAX_EXAMPLES])} among them"
    if same_image.any() or version.source == source:
        raise ChampionUnusableError(f"it was trained or validated on {told}, {named}; test on patients new to both")
    raise ChampionUnusableError(  # data that were moved have another source too: they may be the same people
        f"it was trained or validated, on another source, on patients of the same id as {told}, {named}; test on "
        "patients new to both, or publish other data under another publish_model_name"
    )


def _load(version: ChampionVersion) -> keras.Model:
    try:
        model = artifact.load_model(version.folder)
    except Exception as error:  # Keras raises many kinds, for code in the file as for a file of another Keras
        raise ChampionUnusableError(
            f"its model.keras cannot be loaded ({str(error).strip().splitlines()[0]})"
        ) from error
    shapes = (model.input_shape, model.output_shape)
    (image,), (probabilities,) = version.spec.inputs.values(), version.spec.outputs.values()
    promised = (image.shape, probabilities.shape)
    if shapes != promised:
        raise ChampionUnusableError(
            f"its network must map {' to '.join(map(str, promised))}, got {' to '.join(map(str, shapes))}"
        )
    return model


def _predict_at_own_size(predictor: Predictor, test: pd.DataFrame, size: int) -> np.ndarray:
    """Probabilities from the original images, decoded at the size that the network was made for."""
    lost: list[str] = []  # an exception would reach us only as text, through TensorFlow

    def images() -> Iterator[np.ndarray]:
        try:
            for image_id, decoded in zip(test["image_id"], decode_rows(test, size), strict=True):
                if decoded.image is None:
                    lost.append(f"{image_id}: {decoded.reason}")
                    return
                yield decoded.image
        except (FileNotFoundError, ValueError) as error:  # the archive that holds them all
            lost.append(str(error))

    signature = tf.TensorSpec((size, size, 1), tf.uint8)
    batches = tf.data.Dataset.from_generator(images, output_signature=signature).batch(BATCH_SIZE)
    scores = list(predictor.iter_outputs(batches))
    if lost:
        raise ChampionUnusableError(
            f"it takes images of {size} pixels, and the originals cannot be read anew ({lost[0]})"
        )
    return np.concatenate(scores)
