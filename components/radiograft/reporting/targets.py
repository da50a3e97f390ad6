"""Sentences, plots and tables of numbers for the reports and the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from radiograft.registry.result_types import Estimate, RegressionMetrics, SplitMetrics, TargetMetrics
from radiograft.reporting.agreement_plots import Points, bland_altman_svg, scatter_svg
from radiograft.reporting.html import STRATEGIES, format_number, format_quantity


class AgreementPlots(NamedTuple):
    """Plots of one target with their alternative texts: prediction against truth, and the errors."""

    target: str
    scatter: str
    scatter_alt: str
    bland_altman: str
    bland_altman_alt: str


def agreement_plots(points: Mapping[str, Points], metrics: RegressionMetrics) -> list[AgreementPlots]:
    """Plots the predictions of each estimable target.

    Args:
        points: truth and predictions by target, of the images with a known value.
        metrics: of the same images.
    """
    plots = []
    for name in metrics["estimable"]:
        target, shown = metrics["targets"][name], points[name]
        limits = [format_quantity(target[key]["value"]) for key in ("limit_low", "limit_high")]
        plots.append(
            AgreementPlots(
                name,
                scatter_svg(shown, name),
                f"Predicted against true {name}: R² {format_number(target['r2']['value'])}",
                bland_altman_svg(shown, name, target),
                f"Bland-Altman plot of {name}: mean error {format_quantity(target['mean_error']['value'])}, "
                f"limits of agreement {limits[0]} to {limits[1]}",
            )
        )
    return plots


def target_headline(strategy: str, test: SplitMetrics) -> str:
    """Summarizes the errors of a strategy on test beside the baseline."""
    name, metrics = STRATEGIES[strategy], test["regression"]
    sample = f"{test['n_images']:,} test images from {test['n_patients']:,} patients"
    targets, estimable = metrics["targets"], metrics["estimable"]
    if not estimable:
        return f"{name} has no estimable error on the {sample}: no target has different values of enough patients."
    if len(targets) == 1:
        (target,) = targets.values()
        return (
            f"{name} predicts {estimable[0]} with a mean absolute error of {with_interval(target['mae'])} on {sample}. "
            f"Always predicting {format_quantity(target['median'])}, the median of training, has "
            f"{with_interval(target['baseline_mae'])}. R² is {_ratio(metrics['r2'])}."
        )
    share = f"{len(estimable)} of {len(targets)} targets"
    return f"{name} reaches a mean R² of {_ratio(metrics['r2'])} over {share} on {sample}."


def target_cautions(metrics: RegressionMetrics, place: str) -> list[str]:
    """Returns warnings that qualify the headline."""
    estimable = {name: metrics["targets"][name] for name in metrics["estimable"]}
    weak = [name for name, target in estimable.items() if not _is_better(target)]
    flat = [name for name, target in estimable.items() if (target["r2"]["low"] or 0.0) <= 0]
    missing = [name for name in metrics["targets"] if name not in estimable]
    sentences = []
    if weak:
        sentences.append(
            f"The mean absolute error of {', '.join(weak)} is not significantly below that of always predicting the "
            "median of training: the advantage over the baseline may be due to chance."
        )
    if flat:
        sentences.append(f"The confidence interval of R² includes 0: {', '.join(flat)}.")
    if missing:
        sentences.append(
            f"Not estimable, because {place} has too few patients with a known value, or only one value: "
            f"{', '.join(missing)}."
        )
    return sentences


def _is_better(target: TargetMetrics) -> bool:
    high = target["mae_difference"]["high"]
    return high is not None and high < 0


def with_interval(estimate: Estimate) -> str:
    """Returns an estimate in its unit with its interval."""
    value, low, high = (format_quantity(number) for number in (estimate["value"], estimate["low"], estimate["high"]))
    return value if estimate["low"] is None else f"{value} (95% CI {low} to {high})"


def _ratio(estimate: Estimate) -> str:
    value, low, high = (format_number(number) for number in (estimate["value"], estimate["low"], estimate["high"]))
    return value if estimate["low"] is None else f"{value} (95% CI {low} to {high})"


def target_table(test: SplitMetrics) -> list[Sequence[str]]:
    """Returns the rows of a table of all targets as text: name, images, then errors with their intervals."""
    metrics = test["regression"]
    return [
        [
            name,
            f"{target['n_images']:,} ({target['n_patients']:,})",
            with_interval(target["mae"]),
            f"{with_interval(target['baseline_mae'])}: always {format_quantity(target['median'])}",
            with_interval(target["rmse"]),
            _ratio(target["r2"]),
            with_interval(target["mean_error"]),
            f"{format_quantity(target['limit_low']['value'])} to {format_quantity(target['limit_high']['value'])}",
        ]
        for name, target in metrics["targets"].items()
    ]


TABLE_HEADER = (
    "target", "images (patients)", "mean absolute error", "baseline", "root mean squared error", "R²", "mean error",
    "limits of agreement",
)  # fmt: skip
