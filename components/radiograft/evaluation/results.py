"""Every figure of metrics.json that follows from the predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from radiograft.config import Evaluate
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation import calibration, shortcuts, subgroups
from radiograft.evaluation.cut_off_curve import read_curve
from radiograft.evaluation.predictions import PUBLISHED, EvaluateInputs
from radiograft.evaluation.subgroups import EvaluatedSplit
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.metrics.thresholds import choose_thresholds
from radiograft.registry.result_types import RandomBaseline, SplitMetrics
from radiograft.registry.results import Analyses, EvaluationResults, PredictionResults
from radiograft.reporting.html import ReportSection
from radiograft.training.feature_extraction import RANDOM_PREDICTIONS
from radiograft.training.search import results as search_results


def compute_results(
    settings: Evaluate, data: Shards, inputs: EvaluateInputs, predictions: pd.DataFrame
) -> PredictionResults:
    """Thresholds from validation and every figure that is measured with them."""
    thresholds, metrics = {}, {}
    for strategy, frame in predictions.groupby("strategy", sort=False):
        by_split = dict(list(frame.groupby("split", sort=False)))
        thresholds[str(strategy)] = choose_thresholds(by_split["validation"], data.labels, settings.operating_point())
        metrics[str(strategy)] = {
            str(split): compute_split_metrics(settings, part, data.labels, thresholds[str(strategy)])
            for split, part in by_split.items()
        }
    validation, samples = data.split("validation"), settings.evaluate_bootstrap_samples
    published = predictions[predictions["strategy"] == PUBLISHED]
    return PredictionResults(
        published=PUBLISHED,
        operating_point=settings.evaluate_operating_point,
        thresholds=thresholds,
        metrics=metrics,
        cut_off_curve=read_curve(inputs.features, validation, data.labels, samples, settings.train_seed),
        cut_off_search=search_results.read_trials(inputs.model),
        random_baseline=random_baseline(settings, inputs, predictions, data.labels),
        kept_epochs={name: int(history["best_epoch"]) for name, history in inputs.histories().items()},
        data=data.summary,
        **analyze(settings, data.rows, published, thresholds[PUBLISHED], metrics[PUBLISHED]),
    )


def compute_split_metrics(
    settings: Evaluate, part: pd.DataFrame, labels: tuple[str, ...], thresholds: dict[str, float]
) -> SplitMetrics:
    samples, seed = settings.evaluate_bootstrap_samples, settings.train_seed
    return evaluate_predictions(part, labels, thresholds, samples, seed, settings.evaluate_min_patients)


def random_baseline(
    settings: Evaluate, inputs: EvaluateInputs, predictions: pd.DataFrame, labels: tuple[str, ...]
) -> RandomBaseline | None:
    """Validation AUROC of the same classifier on pretrained and on random weights; None where it was not asked for."""
    path = inputs.features / RANDOM_PREDICTIONS
    if not path.exists():
        return None
    chosen = (predictions["strategy"] == "feature_extraction") & (predictions["split"] == "validation")
    frames = {"pretrained": predictions[chosen], "random": pd.read_parquet(path)}
    found = {
        name: compute_split_metrics(settings, frame, labels, choose_thresholds(frame, labels))
        for name, frame in frames.items()
    }
    return RandomBaseline(
        pretrained=found["pretrained"]["mean"]["auroc"],
        random=found["random"]["mean"]["auroc"],
        n_images=found["random"]["n_images"],
        n_patients=found["random"]["n_patients"],
        split="validation",
    )


def analyze(
    settings: Evaluate,
    rows: pd.DataFrame,
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    metrics: Mapping[str, SplitMetrics],
) -> Analyses:
    """Analyses one strategy.

    Args:
        rows: the catalog's of all splits.
        predictions: the strategy's on validation and test, in the order of `rows`, columns of
            `records.prediction_frame`.
        thresholds: by label.
        metrics: of validation and test.
    """
    parts = {split: _part(predictions, split) for split in ("validation", "test")}
    estimable = {split: metrics[split]["mean"]["labels"] for split in parts}
    split = "test" if estimable["test"] else "validation"
    judged = EvaluatedSplit(parts[split], _part(rows, split), thresholds, list(metrics[split]["labels"]))
    return {
        "calibration": calibration.calibrate(parts["validation"], parts["test"], estimable["test"]),
        "judged_on": split,
        "subgroups": subgroups.by_subgroup(judged, settings),
        "shortcuts": shortcuts.find_shortcuts(_part(rows, "train"), judged, estimable[split]),
    }


def analysis_sections(results: EvaluationResults) -> Sequence[ReportSection]:
    """The report's parts on them, from all that metrics.json holds."""
    min_patients = int(results["lineage"]["settings"]["evaluate_min_patients"])
    return [
        calibration.calibration_section(results["calibration"]),
        subgroups.subgroup_section(results["subgroups"], results["judged_on"], min_patients),
        shortcuts.shortcut_section(results["shortcuts"], results["judged_on"]),
    ]


def analysis_notes(results: PredictionResults) -> list[str]:
    """What a reader of the headline must know of them, from all that metrics.json holds."""
    return shortcuts.shortcut_warnings(results["shortcuts"], results["judged_on"])


def _part(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    return frame[frame["split"] == split].reset_index(drop=True)
