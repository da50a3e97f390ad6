"""The report of an external evaluation: the page of the evaluate stage, with the external set in place of test."""

from __future__ import annotations

from radiograft.data.catalog import label_column, score_column
from radiograft.data.quality.summary import count_classes, count_pixels
from radiograft.evaluation import calibration, confounders, shortcuts, subgroups
from radiograft.evaluation.predictions import PUBLISHED
from radiograft.external.archive import Archive
from radiograft.external.prediction import ArchivePredictions
from radiograft.metrics.multilabel import roc_curve
from radiograft.registry.external_results import ExternalResults, Robustness
from radiograft.reporting.classes import ClassRow, class_rows
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
    """Returns the loss of AUROC from the version's test split to the external set, and of exclusive classes both
    accuracies, as sentences."""
    return " ".join(filter(None, [_describe_auroc(results), _describe_accuracy(results)]))


def _describe_accuracy(results: ExternalResults) -> str:
    inside, outside = class_rows(results["internal"]), class_rows(results["metrics"])
    if not outside:
        return ""
    values = [format_number(rows[0].estimate["value"]) for rows in (inside, outside)]
    baseline = format_number(outside[0].baseline["value"])
    return f"Accuracy {values[0]} on the test split, {values[1]} on {PLACE}, where the baseline has {baseline}."


def _describe_auroc(results: ExternalResults) -> str:
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
        ReportSection("external.html.j2", {**results, "measures": MEASURES, "class_rows": _class_rows(results)}),
        *([_robustness_section(robustness)] if robustness else []),
        calibration.calibration_section(results["calibration"]),
        subgroups.subgroup_section(results["subgroups"], PLACE, min_patients),
        shortcuts.shortcut_section(
            results["shortcuts"], PLACE, estimated_on="the same images, which favors the variable"
        ),
        confounders.confounder_section(results["confounders"], PLACE),
    ]


def _class_rows(results: ExternalResults) -> list[tuple[ClassRow, ClassRow]]:
    """Returns the metrics of exclusive classes on the version's test split and on the external set."""
    return list(zip(class_rows(results["internal"]), class_rows(results["metrics"]), strict=True))


def _robustness_section(robustness: Robustness) -> ReportSection:
    return ReportSection(
        "robustness.html.j2", {**robustness, "plot": robustness_svg(robustness["severities"], robustness["mean"])}
    )
