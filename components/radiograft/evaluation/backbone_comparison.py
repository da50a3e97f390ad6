"""Compares backbones that were trained on the same data, by their validation AUROC with paired intervals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from radiograft.data.catalog import label_column, prediction_frame
from radiograft.evaluation.promotion_gate import bootstrap_aurocs, compare_models, exact_auroc, has_same_order
from radiograft.metrics.bootstrap import NOT_ESTIMABLE, encode_patients
from radiograft.metrics.exact_intervals import mean_interval
from radiograft.metrics.label_metrics import rank_label
from radiograft.registry.result_types import AurocComparison
from radiograft.registry.training_types import BackboneCandidate, BackboneComparison
from radiograft.reporting.html import ReportSection
from radiograft.reporting.plots import compared_curves_svg
from radiograft.training.search.comparison import ALL_SCORES, COMPARISON

ANY_THRESHOLD = 0.5  # whether an AUROC can be estimated does not depend on it


def compare_backbones(
    model: Path, validation: pd.DataFrame, labels: Sequence[str], samples: int, seed: int, min_patients: int = 1
) -> BackboneComparison | None:
    """Returns the backbones of a comparison with intervals; None if the model is not the best of a comparison.

    The AUROC is the mean over the labels that have both classes on validation. The differences use the same resamples
    of patients for both networks.

    Args:
        model: folder of the best model.
        validation: the validation rows in stored order, with `patient_id` and `label:<name>`.
        labels: labels in the order of the scores.
        samples: number of patient resamples.
        seed: seed of the resampling.
        min_patients: minimum number of patients with, and without, a label for it to be estimable.
    """
    if not (model / COMPARISON).exists():
        return None
    candidates: list[BackboneCandidate] = json.loads((model / COMPARISON).read_text())
    frames = [prediction_frame(validation, labels, scores) for scores in np.load(model / ALL_SCORES)]
    estimable = [label for label in labels if is_estimable(validation, label, min_patients)]
    models = [frames[:1], *([frames[0], frame] for frame in frames[1:])]
    results = [compare_mean_auroc(pair, estimable, samples, seed) for pair in models]
    return BackboneComparison(
        backbones=[
            {**candidate, "auroc": result["champion"] or result["challenger"], "difference": result["difference"]}
            for candidate, result in zip(candidates, results, strict=True)
        ],
        n_images=len(validation),
        n_patients=int(validation["patient_id"].nunique()),
    )


def is_estimable(validation: pd.DataFrame, label: str, min_patients: int) -> bool:
    truth = validation[label_column(label)]
    patients = encode_patients(validation["patient_id"])
    return rank_label(truth, np.zeros(len(truth)), patients, ANY_THRESHOLD, min_patients).estimable


def compare_mean_auroc(models: list[pd.DataFrame], labels: Sequence[str], samples: int, seed: int) -> AurocComparison:
    """Returns the AUROC of the best network and, if there is a second one, its AUROC and the difference."""
    if not labels:
        difference = NOT_ESTIMABLE if len(models) > 1 else None
        return {"challenger": NOT_ESTIMABLE, "champion": difference, "difference": difference}
    aurocs = bootstrap_aurocs(models, labels, samples, seed).mean(axis=1)
    exact = [mean_interval([exact_auroc(model, label) for label in labels]) for model in models]
    return compare_models(aurocs, exact, all(has_same_order(models[0], models[-1], label) for label in labels))


def comparison_section(comparison: BackboneComparison) -> ReportSection:
    """Returns the report section with the table of backbones and their cut-off curves."""
    backbones = comparison["backbones"]
    curves = {each["backbone"]: [auroc for _, auroc in each["curve"]] for each in backbones}
    alt = "; ".join(f"{name}: best of {len(values)} layers {max(values):.3f}" for name, values in curves.items())
    plot = {
        "caption": "Validation AUROC of a linear probe on each layer, by backbone",
        "svg": compared_curves_svg(curves),
        "alt": alt,
    }
    return ReportSection("backbones.html.j2", {**comparison, "plot": plot})
