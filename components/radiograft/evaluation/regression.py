"""Results of an evaluation if the targets are numbers: errors beside those of always predicting one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from radiograft.config import Evaluate
from radiograft.data.catalog import label_column, score_column
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.predictions import PUBLISHED, EvaluateInputs
from radiograft.evaluation.probe_curves import read_curve, read_reduced_curve
from radiograft.evaluation.subgroups import iter_groups
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients
from radiograft.metrics.ranking import FloatArray
from radiograft.metrics.regression import (
    STATISTICS,
    Errors,
    Reference,
    compute_target_statistics,
    evaluate_targets,
    interval,
    measure_errors,
)
from radiograft.registry.analysis_types import Contrast, Subgroup
from radiograft.registry.result_types import SplitMetrics
from radiograft.registry.results import DataSummary, EvaluationResults, PredictionResults
from radiograft.registry.training_types import RandomBaseline
from radiograft.reporting.html import ReportSection
from radiograft.training.feature_extraction import RANDOM_PREDICTIONS
from radiograft.training.search import results as search_results

SHOWN = ("mae", "mean_error")  # of a subgroup


def compute_results(
    settings: Evaluate, data: Shards, inputs: EvaluateInputs, predictions: pd.DataFrame, rows: pd.DataFrame
) -> PredictionResults:
    """Computes all metrics and the subgroup analysis.

    Calibration, shortcuts and confounders, which are about labels, are empty.

    Args:
        settings: settings of the evaluate stage.
        data: the shards.
        inputs: artifacts of the earlier stages.
        predictions: as `predict_splits` returns them.
        rows: the catalog rows to analyze, of all splits.
    """
    references = training_references(data.summary)
    metrics = {
        str(strategy): {
            str(split): _evaluate(settings, part, references) for split, part in frame.groupby("split", sort=False)
        }
        for strategy, frame in predictions.groupby("strategy", sort=False)
    }
    curve_options = data.split("validation"), data.labels, *_interval_options(settings)
    judged_on = "test" if metrics[PUBLISHED]["test"]["regression"]["estimable"] else "validation"
    published = predictions[(predictions["strategy"] == PUBLISHED) & (predictions["split"] == judged_on)]
    judged_rows = rows[rows["split"] == judged_on].reset_index(drop=True)
    return PredictionResults(
        published=PUBLISHED,
        operating_point=settings.evaluate_operating_point,
        thresholds={strategy: {} for strategy in metrics},
        metrics=metrics,
        cut_off_curve=read_curve(inputs.features, *curve_options),
        reduced_curve=read_reduced_curve(inputs.features, *curve_options),
        cut_off_search=search_results.read_trials(inputs.model),
        backbone_comparison=None,
        random_baseline=_evaluate_random_baseline(settings, inputs, metrics, references),
        kept_epochs={name: int(history["best_epoch"]) for name, history in inputs.histories().items()},
        data=data.summary,
        calibration={"labels": {}, "expected_error": None, "scaled_expected_error": None},
        judged_on=judged_on,
        subgroups=evaluate_subgroups(published.reset_index(drop=True), judged_rows, references, settings),
        shortcuts=[],
        confounders=[],
    )


def training_references(summary: DataSummary) -> dict[str, Reference]:
    """Returns mean and median of each target in training, from the summary of a run or of a published version."""
    targets = summary["splits"]["train"]["targets"]
    return {name: Reference(each["mean"] or 0.0, each["median"] or 0.0) for name, each in targets.items()}


def _interval_options(settings: Evaluate) -> tuple[int, int, int]:
    return settings.evaluate_bootstrap_samples, settings.train_seed, settings.evaluate_min_patients


def _evaluate(settings: Evaluate, predictions: pd.DataFrame, references: dict[str, Reference]) -> SplitMetrics:
    return evaluate_targets(predictions, references, *_interval_options(settings))


def _evaluate_random_baseline(
    settings: Evaluate,
    inputs: EvaluateInputs,
    metrics: Mapping[str, Mapping[str, SplitMetrics]],
    references: dict[str, Reference],
) -> RandomBaseline | None:
    """Compares the classifier on pretrained and on random features by validation R²; None if it was not requested."""
    path = inputs.features / RANDOM_PREDICTIONS
    if not path.exists():
        return None
    random = _evaluate(settings, pd.read_parquet(path), references)
    return RandomBaseline(
        pretrained=metrics["feature_extraction"]["validation"]["regression"]["r2"],
        random=random["regression"]["r2"],
        n_images=random["n_images"],
        n_patients=random["n_patients"],
        split="validation",
        metric="r2",
    )


def evaluate_subgroups(
    predictions: pd.DataFrame, rows: pd.DataFrame, references: Mapping[str, Reference], settings: Evaluate
) -> list[Subgroup]:
    """Evaluates the errors in every group of every variable and their difference from the rest.

    All groups share the same bootstrap resamples of patients.

    Args:
        predictions: of one split, with the columns of `prediction_frame`.
        rows: the catalog rows of the same images.
        references: mean and median of training by target.
        settings: settings of the evaluate stage.
    """
    patients = encode_patients(predictions["patient_id"])
    found = []
    for variable, group, inside, rest in iter_groups(rows):
        masks = [mask.to_numpy() for mask in (inside, rest)]
        targets = {
            name: contrast
            for name, reference in references.items()
            if (contrast := _contrast(_split_errors(predictions, name, reference, masks), settings))
        }
        found.append(
            Subgroup(
                variable=variable,
                group=group,
                n_images=int(inside.sum()),
                n_patients=len(np.unique(patients[masks[0]])),
                compared=list(targets),
                mean={},
                labels={},
                targets=targets,
            )
        )
    return found


def _split_errors(
    predictions: pd.DataFrame, target: str, reference: Reference, masks: Sequence[np.ndarray]
) -> list[Errors]:
    """Returns the errors of a target in a group and in the rest."""
    truth, predicted = (predictions[name(target)].to_numpy("float64") for name in (label_column, score_column))
    patients = encode_patients(predictions["patient_id"])
    return [measure_errors(np.where(mask, truth, np.nan), predicted, patients, reference) for mask in masks]


def _contrast(sides: Sequence[Errors], settings: Evaluate) -> dict[str, Contrast]:
    """Compares the errors in a group and in the rest; empty if one has too few patients."""
    if min(side.n_patients for side in sides) < settings.evaluate_min_patients:
        return {}

    def statistic(weights: FloatArray) -> FloatArray:
        return np.stack([compute_target_statistics(side, weights) for side in sides], axis=1)

    samples, seed, _ = _interval_options(settings)
    values = bootstrap_by_patient(sides[0].patients, statistic, samples, seed)
    columns = {name: values[:, :, STATISTICS.index(name)] for name in SHOWN}
    return {
        name: {"group": interval(group := column[:, 0]), "difference": interval(group - column[:, 1])}
        for name, column in columns.items()
    }


def analysis_sections(results: EvaluationResults) -> list[ReportSection]:
    """Returns the report section on subgroups."""
    content = {
        "groups": results["subgroups"],
        "split": results["judged_on"],
        "min_patients": int(results["lineage"]["settings"]["evaluate_min_patients"]),
    }
    return [ReportSection("numeric_subgroups.html.j2", content)]
