"""Renders the evaluation report as one self-contained HTML page, without scripts or network access."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from radiograft.registry.result_types import SplitMetrics, TargetSummary
from radiograft.registry.training_types import (
    CURVE_TITLES,
    CurvePoint,
    RandomBaseline,
    ReducedCurvePoint,
    Trial,
    curve_metric,
)
from radiograft.reporting import html
from radiograft.reporting.agreement_plots import Points
from radiograft.reporting.classes import class_rows, confusion_plot
from radiograft.reporting.html import ReportSection, environment
from radiograft.reporting.plots import Curve, best_layers, curve_svg, roc_svg, search_svg, training_svg
from radiograft.reporting.targets import agreement_plots, target_cautions, target_headline
from radiograft.training.search.results import best_trial, trials_monitor

# Pages in KFP's viewer should stay below 5 MB, and base64 makes an image a third larger.
MAX_CONTACT_SHEET_BYTES = 3_000_000
MAX_EXAMPLES = 10
MAX_BEST_LAYERS = 5
QUANTITIES = {"mae": "mean absolute error"}  # of a training curve


@dataclass(frozen=True)
class SplitCount:
    """Size of a split, its labels as `count_classes` counts them, and `count_pixels` of its files if recorded.

    Numbers have `summarize_targets` in place of labels.
    """

    split: str
    images: int
    patients: int
    labels: Mapping[str, Mapping[str, int]]
    pixels: Mapping[str, int] | None = None
    targets: Mapping[str, TargetSummary] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Exclusion:
    """Images excluded for one reason, with a few example ids."""

    reason: str
    count: int
    examples: Sequence[str]


@dataclass(frozen=True)
class Report:
    """Content of the report. Strategies are `feature_extraction` and `fine_tuning`.

    Attributes:
        title: heading of the page.
        run_id: id of the pipeline run.
        created: ISO 8601 time.
        published: the published strategy.
        metrics: strategy -> split (`validation`, `test`) -> metrics.
        roc: strategy -> label -> (false positive rates, true positive rates) on test, of the estimable labels.
        histories: strategy -> one mapping per epoch: `epoch`, `loss`, `accuracy`, `val_loss`, `val_accuracy`.
        kept_epochs: strategy -> the epoch whose weights were kept; 0 stands for the weights before training.
        random_baseline: comparison with random weights, or None.
        cut_off_curve: linear probe of each layer on validation, from input to output.
        cut_off_search: fine-tuning from each candidate cut-off, from input to output; one entry without a search.
        decision: decision of the promotion gate, in one sentence.
        sections: sections of further analyses, in this order.
        data_counts: one entry per split.
        exclusions: one entry per reason.
        settings: name -> value.
        lineage: name -> value.
        contact_sheet_png: sample of the training images as an encoded PNG, or None.
        notes: warnings in plain text.
        reduced_curve: the same after a dimensionality reduction, one entry for each layer and method.
        place: what the metrics of the split `test` were measured on: `test`, or another set that has its place.
        agreement: truth and predictions of the published strategy on test by target, if the targets are numbers.
    """

    title: str
    run_id: str
    created: str
    published: str
    metrics: Mapping[str, Mapping[str, SplitMetrics]]
    roc: Mapping[str, Mapping[str, Curve]]
    histories: Mapping[str, Sequence[Mapping[str, float]]]
    kept_epochs: Mapping[str, int]
    random_baseline: RandomBaseline | None
    cut_off_curve: Sequence[CurvePoint]
    cut_off_search: Sequence[Trial]
    decision: str
    sections: Sequence[ReportSection]
    data_counts: Sequence[SplitCount]
    exclusions: Sequence[Exclusion]
    settings: Mapping[str, object]
    lineage: Mapping[str, object]
    contact_sheet_png: bytes | None
    notes: Sequence[str]
    reduced_curve: Sequence[ReducedCurvePoint] = ()
    place: str = "test"
    agreement: Mapping[str, Points] = dataclasses.field(default_factory=dict)

    @property
    def test(self) -> SplitMetrics:
        """Test metrics of the published strategy."""
        return self.metrics[self.published]["test"]


class Plot(NamedTuple):
    """A plot with its caption and alternative text."""

    caption: str
    svg: str
    alt: str


def render_report(report: Report) -> str:
    """Renders the report as HTML; equal reports give equal text.

    A contact sheet above 3 MB is omitted with a note, so that the page stays below 5 MB.

    Raises:
        ValueError: if the published strategy has no test metrics.
    """
    if "test" not in report.metrics.get(report.published, {}):
        raise ValueError(
            f"published must be a strategy with test metrics, one of {sorted(report.metrics)}, got {report.published!r}"
        )
    sheet = report.contact_sheet_png or b""
    fits = len(sheet) <= MAX_CONTACT_SHEET_BYTES
    omitted = [] if fits else [f"The contact sheet was omitted: {len(sheet) / 1e6:.1f} MB exceeds the limit of 3 MB."]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            class_rows=class_rows(report.test),
            confusion=confusion_plot(report.test["classes"]) if "classes" in report.test else None,
            agreement=agreement_plots(report.agreement, report.test["regression"]) if report.agreement else [],
            headline=_headline(report),
            notes=list(dict.fromkeys(map(html.format_sentence, [*_cautions(report), *report.notes, *omitted]))),
            roc_plots=_roc_plots(report),
            training_plots=_training_plots(report),
            curve_plot=_curve_plot(report),
            curve_metric=curve_metric(report.cut_off_curve),
            curve_title=CURVE_TITLES[curve_metric(report.cut_off_curve)],
            best_layers=best_layers(report.cut_off_curve)[:MAX_BEST_LAYERS],
            reductions=_reductions(report),
            search_plot=_search_plot(report.cut_off_search),
            monitor=trials_monitor(report.cut_off_search) if report.cut_off_search else None,
            best_cut_off=best_trial(report.cut_off_search)["overrides"]["model_cut_off"]
            if report.cut_off_search
            else "",
            contact_sheet=sheet if fits else b"",
            max_examples=MAX_EXAMPLES,
        )
    )


def _headline(report: Report) -> str:
    if "regression" in report.test:
        return target_headline(report.published, report.test)
    return html.headline(report.published, report.test, report.place)


def _cautions(report: Report) -> list[str]:
    if "regression" in report.test:
        return target_cautions(report.test["regression"], report.place)
    return html.cautions(report.test, report.place)


def _roc_plots(report: Report) -> list[Plot]:
    strategies = [report.published, *(name for name in report.roc if name != report.published)]
    plots = []
    for label in report.test["labels"]:
        curves = {name: report.roc[name][label] for name in strategies if label in report.roc.get(name, {})}
        aurocs = [
            f"{html.STRATEGIES[name]} "
            f"{html.format_number(report.metrics[name]['test']['labels'][label]['auroc']['value'])}"
            for name in curves
        ]
        if curves:
            plots.append(Plot(label, roc_svg(list(curves.values())), f"AUROC: {', '.join(aurocs)}"))
    return plots


def _training_plots(report: Report) -> list[Plot]:
    return [
        Plot(
            f"{html.STRATEGIES[strategy]}: {QUANTITIES.get(quantity, quantity)}",
            training_svg(history, quantity),
            f"{QUANTITIES.get(quantity, quantity).capitalize()} over {len(history)} epochs; "
            + _describe_kept_epoch(history, report.kept_epochs[strategy], quantity),
        )
        for strategy, history in report.histories.items()
        for quantity in (("mae", "loss") if "regression" in report.test else ("accuracy", "loss"))
        if history
    ]


def _describe_kept_epoch(history: Sequence[Mapping[str, float]], epoch: int, quantity: str) -> str:
    if epoch == 0:
        return "the weights before training were kept"
    row = history[epoch - 1]
    return f"selected epoch {epoch}: {row[quantity]:.3f} in training, {row[f'val_{quantity}']:.3f} in validation"


def _curve_plot(report: Report) -> Plot | None:
    best = best_layers(report.cut_off_curve)
    if not best:
        return None
    metric = curve_metric(report.cut_off_curve)
    return Plot(
        f"Validation {CURVE_TITLES[metric]} of a linear probe on each layer, with 95% confidence intervals",
        curve_svg(report.cut_off_curve, report.reduced_curve),
        f"{len(report.cut_off_curve)} layers from input to output; the best is {best[0]['layer']} with "
        f"{html.format_number(best[0][metric]['value'])}",
    )


def _reductions(report: Report) -> dict[str, dict[str, ReducedCurvePoint]]:
    """Returns method -> layer -> point, the methods under their abbreviations in the report."""
    methods = dict.fromkeys(point["method"] for point in report.reduced_curve)
    return {
        method.upper(): {point["layer"]: point for point in report.reduced_curve if point["method"] == method}
        for method in methods
    }


def _search_plot(table: Sequence[Trial]) -> Plot | None:
    if len(table) < 2:
        return None
    best, monitor = best_trial(table), trials_monitor(table)
    return Plot(
        f"Validation {monitor.title} after fine-tuning from each cut-off",
        search_svg(table),
        f"{len(table)} cut-offs from input to output; the best is {best['overrides']['model_cut_off']} with "
        f"{html.format_number(best['metrics'][monitor.metric])}",
    )
