"""The evaluation as one HTML page that stands alone: no script, no network, fit for a phone and for paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from radiograft.metrics.bootstrap import Estimate
from radiograft.metrics.multilabel import SplitMetrics
from radiograft.reporting import narrative
from radiograft.reporting.html import ReportSection
from radiograft.reporting.plots import Curve, best_layers, curve_svg, roc_svg, search_svg, training_svg
from radiograft.training.search.results import Trial, best_trial

if TYPE_CHECKING:  # it loads TensorFlow, without which the data report is made
    from radiograft.metrics.curve_point import CurvePoint
from radiograft.reporting.html import environment

# A page of KFP's viewer should stay under 5 MB, and base64 makes an image a third larger.
MAX_CONTACT_SHEET_BYTES = 3_000_000
MAX_EXAMPLES = 10
MAX_BEST_LAYERS = 5


@dataclass(frozen=True)
class SplitCount:
    """Size of a split: `positives` counts the positive images of each label."""

    split: str
    images: int
    patients: int
    positives: Mapping[str, int]


@dataclass(frozen=True)
class Exclusion:
    """Images that were left out for one reason, with the ids of a few."""

    reason: str
    count: int
    examples: Sequence[str]


class RandomBaseline(TypedDict):
    """AUROC of a linear classifier on features of the pretrained and of a randomly initialized backbone."""

    pretrained: Estimate
    random: Estimate
    n_images: int
    n_patients: int
    split: str


@dataclass(frozen=True)
class Report:
    """Everything the page shows; strategies are `feature_extraction` and `fine_tuning`.

    Attributes:
        title: the page's heading.
        run_id: of the pipeline's run.
        created: ISO 8601 time.
        published: the strategy that is published.
        metrics: strategy -> split (`validation`, `test`) -> metrics.
        roc: strategy -> label -> (false positive rates, true positive rates) on test; labels without both
            classes are absent.
        histories: strategy -> one mapping an epoch: `epoch`, `loss`, `accuracy`, `val_loss`, `val_accuracy`.
        kept_epochs: strategy -> the epoch whose weights were kept, 0 is the state before training.
        random_baseline: the comparison with random weights, None if it was not made.
        cut_off_curve: the linear probe of each layer on validation, from the input on.
        cut_off_search: fine-tuning from each candidate cut-off, from the input on; one where nothing was searched.
        decision: the gate's verdict in one sentence.
        sections: what further analyses show, in this order.
        data_counts: one entry a split.
        exclusions: one entry a reason.
        settings: name -> value.
        lineage: name -> value.
        contact_sheet_png: sample of the prepared images as an encoded PNG, or None.
        notes: warnings that a reader must see, in plain text.
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

    @property
    def test(self) -> SplitMetrics:
        """The published strategy's metrics on test."""
        return self.metrics[self.published]["test"]


class Plot(NamedTuple):
    """A curve with its caption and a description for those who do not see it."""

    caption: str
    svg: str
    alt: str


def render_report(report: Report) -> str:
    """The page as HTML text; equal reports give equal text.

    A contact sheet above 3 MB is left out with a note, so that the page stays under 5 MB.

    Raises:
        ValueError: the published strategy has no test metrics.
    """
    if "test" not in report.metrics.get(report.published, {}):
        raise ValueError(
            f"published must name a strategy with test metrics, got {report.published!r}; "
            f"there are {sorted(report.metrics)}"
        )
    sheet = report.contact_sheet_png or b""
    fits = len(sheet) <= MAX_CONTACT_SHEET_BYTES
    oversize = [] if fits else [f"The contact sheet was left out: {len(sheet) / 1e6:.1f} MB is too large here."]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            headline=narrative.headline(report.published, report.test),
            notes=[*narrative.cautions(report.test), *report.notes, *oversize],
            roc_plots=_roc_plots(report),
            training_plots=_training_plots(report),
            curve_plot=_curve_plot(report),
            best_layers=best_layers(report.cut_off_curve)[:MAX_BEST_LAYERS],
            search_plot=_search_plot(report.cut_off_search),
            best_cut_off=best_trial(report.cut_off_search)["overrides"]["model_cut_off"]
            if report.cut_off_search
            else "",
            contact_sheet=sheet if fits else b"",
            most_examples=MAX_EXAMPLES,
        )
    )


def _roc_plots(report: Report) -> list[Plot]:
    strategies = [report.published, *(name for name in report.roc if name != report.published)]
    plots = []
    for label in report.test["labels"]:
        curves = {name: report.roc[name][label] for name in strategies if label in report.roc.get(name, {})}
        areas = [
            f"{narrative.STRATEGIES[name]} "
            f"{narrative.format_number(report.metrics[name]['test']['labels'][label]['auroc']['value'])}"
            for name in curves
        ]
        if curves:
            plots.append(Plot(label, roc_svg(list(curves.values())), f"AUROC: {', '.join(areas)}"))
    return plots


def _training_plots(report: Report) -> list[Plot]:
    return [
        Plot(
            f"{narrative.STRATEGIES[strategy]}: {quantity}",
            training_svg(history, quantity),
            f"{quantity.capitalize()} by epoch, {len(history)} in all; "
            + _kept(history, report.kept_epochs[strategy], quantity),
        )
        for strategy, history in report.histories.items()
        for quantity in ("accuracy", "loss")
        if history
    ]


def _kept(history: Sequence[Mapping[str, float]], epoch: int, quantity: str) -> str:
    if epoch == 0:
        return "kept is the state before training"
    row = history[epoch - 1]
    return f"in epoch {epoch}, kept, {row[quantity]:.3f} in training and {row[f'val_{quantity}']:.3f} in validation"


def _curve_plot(report: Report) -> Plot | None:
    best = best_layers(report.cut_off_curve)
    if not best:
        return None
    return Plot(
        "Validation AUROC of a linear probe on each layer, with 95 % intervals",
        curve_svg(report.cut_off_curve),
        f"{len(report.cut_off_curve)} layers from the input on; the best is {best[0]['layer']} with "
        f"{narrative.format_number(best[0]['auroc']['value'])}",
    )


def _search_plot(table: Sequence[Trial]) -> Plot | None:
    if len(table) < 2:
        return None
    return Plot(
        "Validation AUROC after fine-tuning from each cut-off",
        search_svg(table),
        f"{len(table)} cut-offs from the input on; the best is {best_trial(table)['overrides']['model_cut_off']} with "
        f"{narrative.format_number(best_trial(table)['metrics']['val_auroc'])}",
    )
