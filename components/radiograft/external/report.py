"""The report of an external evaluation: the page of the evaluate stage, with the external set in place of test."""

from __future__ import annotations

from radiograft.data.catalog import count_classes, label_column, score_column
from radiograft.data.quality.summary import count_pixels
from radiograft.evaluation import calibration, confounders, shortcuts, subgroups
from radiograft.evaluation.predictions import PUBLISHED
from radiograft.external.archive import Archive
from radiograft.external.prediction import ArchivePredictions
from radiograft.metrics.multilabel import roc_curve
from radiograft.registry.external_results import ExternalResults, Robustness
from radiograft.reporting.evaluation_report import Exclusion, Report, SplitCount, render_report
from radiograft.reporting.html import ReportSection, format_number
from radiograft.reporting.plots import robustness_svg

PLACE = "the external set"
MEASURES = ("average_precision", "accuracy", "sensitivity", "specificity", "brier")


def render_external_report(results: ExternalResults, archive: Archive, predicted: ArchivePredictions) -> str:
    """Renders the report as one HTML page.

    Args:
        results: content of metrics.json.
        archive: the images of the archive.
        predicted: their predictions.
    """
    labels, frame = archive.labels["common"], predicted.predictions
    count = SplitCount(
        "external",
        len(predicted.rows),
        predicted.rows["patient_id"].nunique(),
        count_classes(predicted.rows, labels),
        count_pixels(predicted.rows),
    )
    report = Report(
        title=f"{results['model']} version {results['version']} on {results['name']}",
        run_id=f"{results['model']} version {results['version']}",
        created=results["created"],
        published=PUBLISHED,
        metrics={PUBLISHED: {"test": results["metrics"]}},
        roc={
            PUBLISHED: {
                label: roc_curve(frame[label_column(label)], frame[score_column(label)])[:2]
                for label in results["metrics"]["mean"]["labels"]
            }
        },
        histories={},
        kept_epochs={},
        random_baseline=None,
        cut_off_curve=[],
        cut_off_search=[],
        decision=describe_loss(results),
        sections=_sections(results),
        data_counts=[count],
        exclusions=[Exclusion(**group) for group in results["excluded"]],
        settings=results["settings"],
        lineage={"data source": results["source"], "data fingerprint": results["fingerprint"]},
        contact_sheet_png=None,
        notes=results["warnings"],
        place=PLACE,
    )
    return render_report(report)


def describe_loss(results: ExternalResults) -> str:
    """Returns the loss of AUROC from the version's test split to the external set, as a sentence."""
    mean = results["comparison"]["mean"]
    if mean is None:
        return "The loss of AUROC is not estimable, because no label is estimable on both sets."
    loss = mean["loss"]
    interval = "" if loss["low"] is None else f" (95% CI {format_number(loss['low'])} to {format_number(loss['high'])})"
    return (
        f"AUROC {format_number(mean['internal']['value'])} on the version's test split, "
        f"{format_number(mean['external']['value'])} on {PLACE}: a loss of {format_number(loss['value'])}{interval}."
    )


def _sections(results: ExternalResults) -> list[ReportSection]:
    min_patients = int(results["settings"]["evaluate_min_patients"])
    robustness = results["robustness"]
    return [
        ReportSection("external.html.j2", {**results, "measures": MEASURES}),
        *([_robustness_section(robustness)] if robustness else []),
        calibration.calibration_section(results["calibration"]),
        subgroups.subgroup_section(results["subgroups"], PLACE, min_patients),
        shortcuts.shortcut_section(
            results["shortcuts"], PLACE, estimated_on="the same images, which favors the variable"
        ),
        confounders.confounder_section(results["confounders"], PLACE),
    ]


def _robustness_section(robustness: Robustness) -> ReportSection:
    return ReportSection(
        "robustness.html.j2", {**robustness, "plot": robustness_svg(robustness["severities"], robustness["mean"])}
    )
