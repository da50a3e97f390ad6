"""Compares the branches of an attention-guided network on the same images, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.config import Evaluate
from radiograft.data.catalog import prediction_frame
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.backbone_comparison import compare_mean_aurocs, is_estimable
from radiograft.evaluation.predictions import BATCH_SIZE, PUBLISHED
from radiograft.models import artifact
from radiograft.models.predictor import Predictor
from radiograft.registry.result_types import Estimate
from radiograft.registry.training_types import BranchComparison, BranchResult, BranchStage
from radiograft.training.attention import draw_places

FUSION = "fusion"


class BranchPredictions(NamedTuple):
    """Predictions of all branches except the fusion, which is the published network.

    Attributes:
        stages: the training of each branch, the fusion's included.
        split: name of the split.
        frames: predictions by branch, with the columns of `prediction_frame`.
        boxes: of the guided crops, float32 [images, 4]: x and y of the upper left corner, width, height; fractions.
        labels: all labels.
    """

    stages: list[BranchStage]
    split: str
    frames: Mapping[str, pd.DataFrame]
    boxes: np.ndarray
    labels: tuple[str, ...]


class BranchPart(TypedDict, total=False):
    """The part of metrics.json about branches: empty for a network with one branch."""

    branches: BranchComparison


def predict_branches(
    model: Path, data: Shards, split: str, strategy: tf.distribute.Strategy, seed: int
) -> BranchPredictions | None:
    """Predicts a split with each branch; returns None if the network is not attention-guided.

    Args:
        model: folder of the model.
        data: the shards.
        split: name of the split.
        strategy: devices to compute on.
        seed: seed of the run, on which the places of the control's random crops depend.
    """
    stages = artifact.read_branch_stages(model)
    if not stages:
        return None
    with strategy.scope():
        predictor = Predictor(artifact.load_model(model, artifact.BRANCHES), strategy)
    batches = data.images(split, BATCH_SIZE)
    if isinstance(predictor.model.input, list):
        places = tf.data.Dataset.from_tensor_slices(draw_places(data, split, seed)).batch(BATCH_SIZE)
        batches = tf.data.Dataset.zip((batches, places))
    boxes, *scores = (np.concatenate(parts) for parts in zip(*predictor.iter_batches(batches), strict=True))
    names = [stage["branch"] for stage in stages if stage["branch"] != FUSION]
    frames = {
        name: prediction_frame(data.split(split), data.labels, values)
        for name, values in zip(names, scores, strict=True)
    }
    return BranchPredictions(stages, split, frames, boxes, data.labels)


def branch_results(branches: BranchPredictions | None, settings: Evaluate, predictions: pd.DataFrame) -> BranchPart:
    """Compares the branches by AUROC; the intervals use the same resamples of patients for all.

    Args:
        branches: see `predict_branches`.
        settings: settings of the evaluate stage.
        predictions: as `predict_splits` returns them.
    """
    if branches is None:
        return {}
    rows = (predictions["strategy"] == PUBLISHED) & (predictions["split"] == branches.split)
    frames = {**branches.frames, FUSION: predictions[rows].reset_index(drop=True)}
    estimable = [
        label for label in branches.labels if is_estimable(frames[FUSION], label, settings.evaluate_min_patients)
    ]
    return {
        "branches": BranchComparison(
            branches=[_compare(stage, frames, estimable, settings) for stage in branches.stages],
            split=branches.split,
            n_images=len(branches.boxes),
            n_patients=int(frames[FUSION]["patient_id"].nunique()),
            crop_share=float(np.mean(branches.boxes[:, 2] * branches.boxes[:, 3])),
        )
    }


def _compare(
    stage: BranchStage, frames: Mapping[str, pd.DataFrame], labels: Sequence[str], settings: Evaluate
) -> BranchResult:
    name, options = stage["branch"], (settings.evaluate_bootstrap_samples, settings.train_seed)
    if name == FUSION:
        means, difference = compare_mean_aurocs([frames[FUSION]], labels, *options)["challenger"], None
    else:
        compared = compare_mean_aurocs([frames[FUSION], frames[name]], labels, *options)
        means, difference = _known(compared["champion"]), compared["difference"]
    own = {label: compare_mean_aurocs([frames[name]], [label], *options)["challenger"] for label in labels}
    return BranchResult(**stage, auroc=means, difference=difference, labels=own)


def _known(estimate: Estimate | None) -> Estimate:
    assert estimate is not None  # noqa: S101  two models were compared
    return estimate
