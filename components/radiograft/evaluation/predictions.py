"""Predictions of both training strategies on validation and test."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import tensorflow as tf

from radiograft.data.catalog import prediction_frame
from radiograft.data.shards.dataset import Shards
from radiograft.models import artifact
from radiograft.models.predictor import Predictor

log = logging.getLogger(__name__)


BATCH_SIZE = 64
PUBLISHED = "fine_tuning"


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
            scores = predictor.predict(data.images(split, BATCH_SIZE))
            frames.append(prediction_frame(data.split(split), data.labels, scores).assign(strategy=name))
    return pd.concat(frames, ignore_index=True)
