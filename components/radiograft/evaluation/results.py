"""Computes the part of metrics.json that follows from the predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from radiograft.config import Evaluate
from radiograft.config.base import SETTINGS_FILE, read_settings
from radiograft.config.data import MULTICLASS, REGRESSION
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation import calibration, class_calibration, confounders, regression, shortcuts, subgroups
from radiograft.evaluation.backbone_comparison import compare_backbones, comparison_section
from radiograft.evaluation.predictions import PUBLISHED, EvaluateInputs
from radiograft.evaluation.probe_curves import read_curve, read_reduced_curve
from radiograft.evaluation.subgroups import EvaluatedSplit
from radiograft.evaluation.view_comparison import view_section
from radiograft.metrics.class_decisions import ExclusiveClasses
from radiograft.metrics.label_metrics import choose_thresholds
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.registry.analysis_types import Calibration
from radiograft.registry.result_types import SplitMetrics
from radiograft.registry.results import Analyses, DataSummary, EvaluationResults, PredictionResults
from radiograft.registry.training_types import RandomBaseline
from radiograft.reporting.html import ReportSection
from radiograft.training.feature_extraction import RANDOM_PREDICTIONS
from radiograft.training.search import results as search_results


def compute_results(
    settings: Evaluate, data: Shards, inputs: EvaluateInputs, predictions: pd.DataFrame
) -> PredictionResults:
    """Chooses thresholds on validation and computes all metrics and analyses.

    Args:
        settings: settings of the evaluate stage.
        data: the shards.
        inputs: artifacts of the earlier stages.
        predictions: as `predict_splits` returns them.
    """
    if data.task == REGRESSION:
        return regression.compute_results(settings, data, inputs, predictions, rows_to_analyze(data))
    thresholds, metrics = {}, {}
    classes = exclusive_classes(settings, data)
    for strategy, frame in predictions.groupby("strategy", sort=False):
        by_split = dict(list(frame.groupby("split", sort=False)))
        thresholds[str(strategy)] = (
            {} if classes else choose_thresholds(by_split["validation"], data.labels, settings.operating_point())
        )
        metrics[str(strategy)] = {
            str(split): compute_split_metrics(settings, part, data.labels, thresholds[str(strategy)], classes)
            for split, part in by_split.items()
        }
    curve_options = data.split("validation"), data.labels, *_interval_options(settings)
    published = predictions[predictions["strategy"] == PUBLISHED]
    return PredictionResults(
        published=PUBLISHED,
        operating_point=settings.evaluate_operating_point,
        thresholds=thresholds,
        metrics=metrics,
        cut_off_curve=read_curve(inputs.features, *curve_options),
        reduced_curve=read_reduced_curve(inputs.features, *curve_options),
        cut_off_search=search_results.read_trials(inputs.model),
        backbone_comparison=compare_backbones(inputs.model, *curve_options),
        random_baseline=evaluate_random_baseline(settings, inputs, predictions, data.labels, classes),
        kept_epochs={name: int(history["best_epoch"]) for name, history in inputs.histories().items()},
        data=data.summary,
        **analyze(settings, rows_to_analyze(data), published, thresholds[PUBLISHED], metrics[PUBLISHED], classes),
    )


def _interval_options(settings: Evaluate) -> tuple[int, int, int]:
    return settings.evaluate_bootstrap_samples, settings.train_seed, settings.evaluate_min_patients


def exclusive_classes(settings: Evaluate, data: Shards) -> ExclusiveClasses | None:
    """Returns the majority class of training and whether the classes are ordered; None if labels are not exclusive."""
    return describe_classes(data.summary, data.labels, settings) if data.task == MULTICLASS else None


def describe_classes(summary: DataSummary, labels: Sequence[str], settings: Evaluate) -> ExclusiveClasses:
    """Returns what the metrics of exclusive classes need, from the counts of a training or of a published version."""
    positives = summary["splits"]["train"]["positives"]
    return ExclusiveClasses(max(labels, key=positives.__getitem__), settings.evaluate_ordered_classes)


def rows_to_analyze(data: Shards) -> pd.DataFrame:
    """Returns the catalog rows, without URIs if the folders are the classes: as a source they would give the label."""
    recorded = data.folder / SETTINGS_FILE
    has_class_folders = recorded.exists() and read_settings(data.folder).get("data_format") == "folders"
    return data.rows.assign(uri="") if has_class_folders else data.rows


def compute_split_metrics(
    settings: Evaluate,
    predictions: pd.DataFrame,
    labels: tuple[str, ...],
    thresholds: Mapping[str, float],
    classes: ExclusiveClasses | None = None,
) -> SplitMetrics:
    """Computes the metrics of one strategy on one split with the bootstrap settings of the run."""
    return evaluate_predictions(predictions, labels, thresholds, *_interval_options(settings), classes)


def evaluate_random_baseline(
    settings: Evaluate,
    inputs: EvaluateInputs,
    predictions: pd.DataFrame,
    labels: tuple[str, ...],
    classes: ExclusiveClasses | None = None,
) -> RandomBaseline | None:
    """Compares a linear classifier on pretrained and on randomly initialized features, by validation AUROC.

    Returns:
        The comparison; None if the run did not request it.
    """
    path = inputs.features / RANDOM_PREDICTIONS
    if not path.exists():
        return None
    is_pretrained = (predictions["strategy"] == "feature_extraction") & (predictions["split"] == "validation")
    pretrained, random = (
        compute_split_metrics(settings, frame, labels, {} if classes else choose_thresholds(frame, labels), classes)
        for frame in (predictions[is_pretrained], pd.read_parquet(path))
    )
    return RandomBaseline(
        pretrained=pretrained["mean"]["auroc"],
        random=random["mean"]["auroc"],
        n_images=random["n_images"],
        n_patients=random["n_patients"],
        split="validation",
    )


def analyze(
    settings: Evaluate,
    rows: pd.DataFrame,
    predictions: pd.DataFrame,
    thresholds: Mapping[str, float],
    metrics: Mapping[str, SplitMetrics],
    classes: ExclusiveClasses | None = None,
) -> Analyses:
    """Analyzes calibration, subgroups and shortcuts of one strategy, and confounders in training.

    Subgroups and shortcuts are analyzed on test, or on validation if no label is estimable on test.

    Args:
        settings: settings of the evaluate stage.
        rows: the catalog rows of all splits.
        predictions: predictions of the strategy on validation and test in the order of `rows`, with the columns of
            `prediction_frame`.
        thresholds: label -> threshold.
        metrics: metrics of validation and test.
        classes: describes the labels if they are exclusive classes, else None.
    """
    parts = {split: _select_split(predictions, split) for split in ("validation", "test")}
    estimable = {split: metrics[split]["mean"]["labels"] for split in parts}
    split = "test" if estimable["test"] else "validation"
    labels = list(metrics[split]["labels"])
    evaluated = EvaluatedSplit(parts[split], _select_split(rows, split), thresholds, labels, classes)
    return {
        "calibration": _calibrate(parts, labels, estimable["test"], classes),
        "judged_on": split,
        "subgroups": subgroups.evaluate_subgroups(evaluated, settings),
        "shortcuts": shortcuts.find_shortcuts(_select_split(rows, "train"), evaluated, estimable[split]),
        "confounders": confounders.find_confounders(_select_split(rows, "train"), labels),
    }


def _calibrate(
    parts: Mapping[str, pd.DataFrame], labels: Sequence[str], estimable: Sequence[str], classes: ExclusiveClasses | None
) -> Calibration:
    if classes is None:
        return calibration.calibrate(parts["validation"], parts["test"], estimable)
    return class_calibration.calibrate_classes(parts["validation"], parts["test"], labels, estimable)


def analysis_sections(results: EvaluationResults) -> list[ReportSection]:
    """Returns the report sections on backbones, lateral images, calibration, subgroups, shortcuts and confounders."""
    min_patients = int(results["lineage"]["settings"]["evaluate_min_patients"])
    comparison = results.get("backbone_comparison")
    return [
        *([comparison_section(comparison)] if comparison else []),
        *([view_section(results["views"])] if "views" in results else []),
        calibration.calibration_section(results["calibration"]),
        subgroups.subgroup_section(results["subgroups"], results["judged_on"], min_patients),
        shortcuts.shortcut_section(results["shortcuts"], results["judged_on"]),
        confounders.confounder_section(results["confounders"]),
    ]


def analysis_notes(results: PredictionResults) -> list[str]:
    """Returns the warnings of the analyses for the summary of the report."""
    return [
        *shortcuts.shortcut_warnings(results["shortcuts"], results["judged_on"]),
        *confounders.confounder_warnings(results["confounders"]),
    ]


def _select_split(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    return frame[frame["split"] == split].reset_index(drop=True)
