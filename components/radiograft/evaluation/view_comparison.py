"""What a lateral image contributes: the same network with each study's lateral image, with another's, and with none."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.config import Evaluate
from radiograft.data.catalog import prediction_frame
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.backbone_comparison import compare_mean_aurocs, is_estimable
from radiograft.evaluation.predictions import BATCH_SIZE
from radiograft.metrics.bootstrap import NOT_ESTIMABLE
from radiograft.models.feature_layers import pooled_parts
from radiograft.models.graph import further_inputs, image_inputs
from radiograft.models.lateral import has_lateral, view_parts
from radiograft.models.predictor import Predictor
from radiograft.models.spec import DEFAULT_NAMES
from radiograft.registry.analysis_types import ViewComparison
from radiograft.registry.result_types import Estimate
from radiograft.reporting.html import ReportSection
from radiograft.training.datasets import with_views
from radiograft.training.feature_extraction import has_lateral_image


def compare_views(
    model: keras.Model, strategy: tf.distribute.Strategy, data: Shards, settings: Evaluate
) -> ViewComparison | None:
    """Compares mean AUROCs on the test studies with both images; differences are paired by patient.

    Args:
        model: the published network, built in the scope of `strategy`.
        strategy: devices to compute on.
        data: the shards, with patient data if the network reads them.
        settings: number of resamples, seed and minimum number of patients.

    Returns:
        None if the network reads no lateral image, or fewer than two test patients have one.
    """
    if not has_lateral(model) or "lateral" not in data.rows:
        return None
    both = has_lateral_image(data, "test")
    rows = data.split("test")[both]
    if rows["patient_id"].nunique() < 2:
        return None
    options = settings.evaluate_bootstrap_samples, settings.train_seed
    labels = [label for label in data.labels if is_estimable(rows, label, settings.evaluate_min_patients)]
    order = exchange_patients(rows["patient_id"], settings.train_seed)
    scores = _predict_variants(model, strategy, data, np.flatnonzero(both), order)
    own, shuffled, frontal = (prediction_frame(rows, data.labels, variant) for variant in scores)
    both_auroc, shuffled_auroc, minus_shuffled = _compare([own, shuffled], labels, *options)
    _, frontal_auroc, minus_frontal = _compare([own, frontal], labels, *options)
    return ViewComparison(
        n_images=len(rows),
        n_patients=int(rows["patient_id"].nunique()),
        labels=labels,
        both=both_auroc,
        shuffled=shuffled_auroc,
        frontal=frontal_auroc,
        minus_shuffled=minus_shuffled,
        minus_frontal=minus_frontal,
    )


def _compare(
    models: list[pd.DataFrame], labels: list[str], samples: int, seed: int
) -> tuple[Estimate, Estimate, Estimate]:
    """Returns the mean AUROCs of two models, and their difference."""
    found = compare_mean_aurocs(models, labels, samples, seed)
    return found["challenger"], found["champion"] or NOT_ESTIMABLE, found["difference"] or NOT_ESTIMABLE


def exchange_patients(patients: pd.Series[str], seed: int) -> np.ndarray:
    """Returns, for each row, the position of a row whose image it gets: of another patient, each exactly once.

    If one patient has more than half of the rows, some get an image of the same patient.

    Example:
        >>> exchange_patients(pd.Series(["a", "a", "b", "b"]), seed=0).tolist()
        [2, 3, 0, 1]
    """
    names = np.random.default_rng(seed).permutation(patients.unique())
    ordered = np.argsort(patients.map({name: place for place, name in enumerate(names)}).to_numpy(), kind="stable")
    order = np.empty(len(patients), dtype="int64")
    order[ordered] = np.roll(ordered, -int(patients.value_counts().iloc[0]))
    return order


def _predict_variants(
    model: keras.Model, strategy: tf.distribute.Strategy, data: Shards, both: np.ndarray, order: np.ndarray
) -> list[np.ndarray]:
    """Returns the scores of the studies `both` with their lateral image, with that of others, and without one."""
    parts, frontal = view_parts(model), len(pooled_parts(model, DEFAULT_NAMES.pooling))
    with strategy.scope():
        features = Predictor(keras.Model(image_inputs(model), parts), strategy)
        head = Predictor(keras.Model([*parts, *further_inputs(model)], model.output), strategy)
    batches = features.iter_batches(with_views(data, lateral=True).images("test", BATCH_SIZE))
    own = [np.concatenate(outputs)[both] for outputs in zip(*batches, strict=True)]
    shuffled = [*own[:frontal], *(part[order] for part in own[frontal:])]
    missing = [*own[:-1], np.zeros_like(own[-1])]
    patient = [values[both] for values in data.further_of("test")]
    return [head.predict(_batches([*variant, *patient])) for variant in (own, shuffled, missing)]


def _batches(arrays: Sequence[np.ndarray]) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(tuple(arrays)).batch(BATCH_SIZE)


def view_section(comparison: ViewComparison) -> ReportSection:
    """Returns the report section on the lateral image."""
    return ReportSection("views.html.j2", {**comparison})
