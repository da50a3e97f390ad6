"""What patient data add to the image: both against each alone, on the same test images with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.config import Evaluate
from radiograft.config.patient_data import covariate_column
from radiograft.data.catalog import prediction_frame
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.predictions import BATCH_SIZE, PUBLISHED
from radiograft.evaluation.promotion_gate import bootstrap_aurocs, compare_models, exact_auroc, has_same_order
from radiograft.metrics.bootstrap import NOT_ESTIMABLE
from radiograft.metrics.exact_intervals import mean_interval
from radiograft.metrics.patient_data import fit_patient_data
from radiograft.models import artifact
from radiograft.models.covariates import Covariate
from radiograft.models.predictor import Predictor
from radiograft.registry.analysis_types import FusionAurocs, FusionComparison, LabelFusion
from radiograft.registry.result_types import AurocComparison, Estimate
from radiograft.reporting.html import ReportSection
from radiograft.training.feature_extraction import IMAGE_ALONE

ALONE, IMAGE, BOTH, WITHHELD, TUNED = "patient_data", "image", "both", "fine_tuned_image", "fine_tuned_both"
TITLES = {
    ALONE: "Patient data alone, logistic regression",
    IMAGE: "Image alone, frozen backbone",
    BOTH: "Both, frozen backbone",
    WITHHELD: "Both, fine-tuned, patient data withheld",
    TUNED: "Both, fine-tuned (published)",
}
GAINS = ((BOTH, IMAGE), (BOTH, ALONE), (TUNED, WITHHELD), (TUNED, ALONE))


def predict_alone(
    feature_model: Path,
    data: Shards,
    covariates: Sequence[Covariate],
    published: Predictor,
    strategy: tf.distribute.Strategy,
) -> dict[str, pd.DataFrame]:
    """Predicts the test images from patient data alone, from images alone, and with patient data withheld.

    Args:
        feature_model: folder of the feature-extraction model.
        data: the shards.
        covariates: patient data that the network reads.
        published: the published network.
        strategy: devices to predict on.
    """
    test, labels = data.split("test"), data.labels
    regression = fit_patient_data(data.split("train"), labels, covariates)
    with strategy.scope():
        image_alone = Predictor(artifact.load_model(feature_model / IMAGE_ALONE), strategy)
    images = data.images("test", BATCH_SIZE)
    scores = {
        ALONE: np.stack([regression.predict(test, label) for label in labels], axis=1),
        IMAGE: image_alone.predict(images),
        WITHHELD: published.predict(images),
    }
    return {name: prediction_frame(test, labels, each) for name, each in scores.items()}


def compare_fusion(
    settings: Evaluate,
    data: Shards,
    covariates: Sequence[Covariate],
    predictions: pd.DataFrame,
    alone: Mapping[str, pd.DataFrame],
    labels: Sequence[str],
) -> FusionComparison:
    """Computes the AUROC of patient data, image and both on test, and the gains, paired by patient.

    Args:
        settings: bootstrap samples and seed.
        data: the shards.
        covariates: patient data that the network reads.
        predictions: as `predict_splits` returns them.
        alone: as `predict_alone` returns it.
        labels: labels that are estimable on test; means are over these.
    """
    test = predictions[predictions["split"] == "test"]
    of = {str(name): frame.reset_index(drop=True) for name, frame in test.groupby("strategy", sort=False)}
    frames = {**alone, BOTH: of["feature_extraction"], TUNED: of[PUBLISHED]}
    models = {name: frames[name] for name in TITLES}
    samples, seed = settings.evaluate_bootstrap_samples, settings.train_seed
    aurocs = bootstrap_aurocs(list(models.values()), labels, samples, seed) if labels else None
    rows = data.split("test")
    return {
        "covariates": [
            {"name": each.name, "known": float(rows[covariate_column(each.name)].notna().mean())} for each in covariates
        ],
        "labels": [] if aurocs is None else _by_label(models, aurocs, labels),
        "mean": None if aurocs is None else _compare(models, aurocs.mean(axis=1), labels),
        "n_images": len(rows),
        "n_patients": int(rows["patient_id"].nunique()),
    }


def _by_label(models: Mapping[str, pd.DataFrame], aurocs: np.ndarray, labels: Sequence[str]) -> list[LabelFusion]:
    return [{"label": label, **_compare(models, aurocs[:, column], [label])} for column, label in enumerate(labels)]


def _compare(models: Mapping[str, pd.DataFrame], aurocs: np.ndarray, labels: Sequence[str]) -> FusionAurocs:
    """Compares the models by their mean AUROC over some labels, (1 + samples, models)."""
    place = {name: number for number, name in enumerate(models)}

    def pair(model: str, baseline: str) -> AurocComparison:
        chosen = [models[model], models[baseline]]
        exact = [mean_interval([exact_auroc(frame, label) for label in labels]) for frame in chosen]
        same = all(has_same_order(chosen[0], chosen[1], label) for label in labels)
        return compare_models(aurocs[:, [place[model], place[baseline]]], exact, same)

    return {
        "aurocs": {name: pair(name, name)["challenger"] for name in models},
        "gains": [
            {"model": model, "baseline": baseline, "difference": pair(model, baseline)["difference"] or NOT_ESTIMABLE}
            for model, baseline in GAINS
        ],
    }


def fusion_section(comparison: FusionComparison) -> ReportSection:
    """Returns the report section on what patient data add."""
    return ReportSection("patient_data.html.j2", {**comparison, "titles": TITLES})


def fusion_notes(comparison: FusionComparison) -> list[str]:
    """Returns a warning for each model that is not better than its baseline within the interval."""
    gains = comparison["mean"]["gains"] if comparison["mean"] else []
    return [
        f"on test, the mean AUROC of `{TITLES[gain['model']]}` is not above that of `{TITLES[gain['baseline']]}` with "
        f"95% confidence: the difference is {_interval(gain['difference'])}"
        for gain in gains
        if gain["difference"]["value"] is not None and (gain["difference"]["low"] or 0.0) <= 0
    ]


def _interval(estimate: Estimate) -> str:
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
