"""Every figure of metrics.json that follows from the predictions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from radiograft.config import Evaluate
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation import analyses
from radiograft.evaluation.cut_off_curve import read_curve
from radiograft.evaluation.predictions import PUBLISHED, Inputs
from radiograft.metrics.multilabel import SplitMetrics, evaluate_predictions
from radiograft.metrics.thresholds import choose_thresholds
from radiograft.reporting.evaluation_report import RandomBaseline
from radiograft.training.feature_extraction import RANDOM_PREDICTIONS
from radiograft.training.search import results as search_results


def measure_all(settings: Evaluate, data: Shards, inputs: Inputs, predictions: pd.DataFrame) -> dict[str, Any]:
    """Thresholds from validation and every figure that is measured with them."""
    thresholds, metrics = {}, {}
    for strategy, frame in predictions.groupby("strategy", sort=False):
        by_split = dict(list(frame.groupby("split", sort=False)))
        thresholds[str(strategy)] = choose_thresholds(by_split["validation"], data.labels, settings.operating_point())
        metrics[str(strategy)] = {
            str(split): measure(settings, part, data.labels, thresholds[str(strategy)])
            for split, part in by_split.items()
        }
    validation, samples = data.split("validation"), settings.evaluate_bootstrap_samples
    published = predictions[predictions["strategy"] == PUBLISHED]
    return {
        "published": PUBLISHED,
        "operating_point": settings.evaluate_operating_point,
        "thresholds": thresholds,
        "metrics": metrics,
        "cut_off_curve": read_curve(inputs.features, validation, data.labels, samples, settings.train_seed),
        "cut_off_search": search_results.read(inputs.model),
        "random_baseline": random_baseline(settings, inputs, predictions, data.labels),
        # 0 is the state before training
        "kept_epochs": {name: int(history["best_epoch"]) for name, history in inputs.histories().items()},
        "data": data.summary,
        **analyses.analyse(settings, data.rows, published, thresholds[PUBLISHED], metrics[PUBLISHED]),
    }


def measure(
    settings: Evaluate, part: pd.DataFrame, labels: tuple[str, ...], thresholds: dict[str, float]
) -> SplitMetrics:
    samples, seed = settings.evaluate_bootstrap_samples, settings.train_seed
    return evaluate_predictions(part, labels, thresholds, samples, seed, settings.evaluate_fewest_patients)


def random_baseline(
    settings: Evaluate, inputs: Inputs, predictions: pd.DataFrame, labels: tuple[str, ...]
) -> RandomBaseline | None:
    """Validation AUROC of the same classifier on pretrained and on random weights; None where it was not asked for."""
    path = inputs.features / RANDOM_PREDICTIONS
    if not path.exists():
        return None
    chosen = (predictions["strategy"] == "feature_extraction") & (predictions["split"] == "validation")
    frames = {"pretrained": predictions[chosen], "random": pd.read_parquet(path)}
    found = {name: measure(settings, frame, labels, choose_thresholds(frame, labels)) for name, frame in frames.items()}
    return RandomBaseline(
        pretrained=found["pretrained"]["mean"]["auroc"],
        random=found["random"]["mean"]["auroc"],
        n_images=found["random"]["n_images"],
        n_patients=found["random"]["n_patients"],
        split="validation",
    )
