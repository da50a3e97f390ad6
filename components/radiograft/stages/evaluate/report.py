"""Collects the content of the evaluation report from the results and from the outputs of earlier stages."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import pandas as pd

from radiograft.config.data import MULTICLASS, REGRESSION
from radiograft.config.training import LOSS_MONITOR
from radiograft.data import splits
from radiograft.data.catalog import label_column, score_column
from radiograft.data.quality.summary import count_classes, count_pixels
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation import promotion_gate, regression, regression_gate
from radiograft.evaluation.predictions import PUBLISHED, EvaluateInputs
from radiograft.evaluation.results import analysis_sections
from radiograft.imaging.geometry import GRAY
from radiograft.metrics.multilabel import roc_curve
from radiograft.registry.results import EvaluationResults
from radiograft.reporting.agreement_plots import Points
from radiograft.reporting.evaluation_report import Exclusion, Report, SplitCount
from radiograft.reporting.html import ReportSection
from radiograft.reporting.published import published_sections


def build_report(
    data: Shards,
    inputs: EvaluateInputs,
    results: EvaluationResults,
    predictions: pd.DataFrame,
    sections: Sequence[ReportSection],
    sheet: bytes,
    run_id: str,
) -> Report:
    """Builds the report of an evaluation.

    Args:
        data: the shards.
        inputs: artifacts of the earlier stages.
        results: content of metrics.json.
        predictions: as `predict_splits` returns them.
        sections: further sections, in the order of the page.
        sheet: the contact sheet as a PNG file.
        run_id: id of the pipeline run.
    """
    test = predictions[predictions["split"] == "test"]
    return Report(
        title=", ".join(data.labels[:3]) + (" and others" if len(data.labels) > 3 else ""),
        run_id=run_id,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        published=PUBLISHED,
        metrics=results["metrics"],
        roc={
            str(name): _roc_curves(frame, results["metrics"][str(name)]["test"]["mean"]["labels"])
            for name, frame in test.groupby("strategy", sort=False)
        },
        histories={name: history["epochs"] for name, history in inputs.histories().items()},
        random_baseline=results["random_baseline"],
        kept_epochs=results["kept_epochs"],
        cut_off_curve=results["cut_off_curve"],
        reduced_curve=results.get("reduced_curve", []),
        cut_off_search=results["cut_off_search"],
        decision=promotion_gate.explain_decision(results["gate"]),
        sections=[*_analyses(data, results), *sections],
        data_counts=[_count_split(data, split) for split in data.summary["splits"]],
        exclusions=[Exclusion(**group) for group in data.summary["excluded"]],
        settings=results["lineage"]["settings"],
        lineage={
            "data source": results["lineage"]["source"],
            "data fingerprint": results["lineage"]["fingerprint"],
        },
        contact_sheet_png=sheet,
        notes=_notes(data, results),
        agreement=agreement_points(data, test[test["strategy"] == PUBLISHED]),
    )


def _published_sections(data: Shards, results: EvaluationResults) -> list[ReportSection]:
    settings, test = results["lineage"]["settings"], results["metrics"][results["published"]]["test"]
    if data.task in (MULTICLASS, REGRESSION) or "data_test_fraction" not in settings:
        return []
    drawn = splits.is_drawn(data.rows, float(settings["data_test_fraction"]), int(settings["train_seed"]))
    return published_sections(settings, data.labels, test, is_official=not drawn)


def agreement_points(data: Shards, test: pd.DataFrame) -> dict[str, Points]:
    """Returns truth and predictions of each target, of the images with a known value; empty for labels.

    Args:
        data: the shards.
        test: predictions of the published strategy on test.
    """
    if data.task != REGRESSION:
        return {}
    pairs = {target: test[[label_column(target), score_column(target)]].dropna() for target in data.labels}
    return {target: Points(*pair.to_numpy("float64").T) for target, pair in pairs.items()}


def _analyses(data: Shards, results: EvaluationResults) -> list[ReportSection]:
    """Returns the sections on the gate and on the analyses of labels, or of numbers."""
    gate = results["gate"]
    if "targets" in gate:
        content = regression_gate.describe_gate(gate)
        return [ReportSection("numeric_gate.html.j2", content), *regression.analysis_sections(results)]
    sections = [ReportSection("gate.html.j2", gate), *_published_sections(data, results)]
    return [*sections, *analysis_sections(results)]


def _notes(data: Shards, results: EvaluationResults) -> list[str]:
    notes = [*results["warnings"], *data.summary["notes"]]
    kind = "grayscale" if data.image_input.channels == GRAY else "RGB"
    notes += [
        f"{count:,} images were {mode} and were converted to {kind}"
        for mode, count in data.summary["converted"].items()
    ]
    for strategy, epochs in results.get("averaged_epochs", {}).items():
        listed = ", ".join(map(str, epochs))
        notes.append(f"{strategy.replace('_', ' ')}: the weights are the mean of those of the epochs {listed}")
    for strategy, epochs in results.get("distilled_epochs", {}).items():
        listed = ", ".join(map(str, epochs))
        notes.append(f"{strategy.replace('_', ' ')}: the mean predictions of the epochs {listed} were distilled")
    several = results.get("averaged_epochs", {}) | results.get("distilled_epochs", {})
    if results["kept_epochs"][PUBLISHED] == 0 and PUBLISHED not in several:
        metric = "R²" if data.task == REGRESSION else "AUROC"
        measure = "loss" if results["lineage"]["settings"].get("train_monitor") == LOSS_MONITOR else metric
        notes.append(
            f"fine-tuning did not improve the validation {measure}: the published model has the weights from before it"
        )
    return notes


def _count_split(data: Shards, split: str) -> SplitCount:
    rows, count = data.split(split), data.summary["splits"][split]
    targets = count.get("targets", {})
    classes = {} if targets else count_classes(rows, data.labels)
    return SplitCount(split, count["pictures"], count["patients"], classes, count_pixels(rows), targets)


def _roc_curves(test: pd.DataFrame, labels: Sequence[str]) -> dict[str, tuple[list[float], list[float]]]:
    return {label: roc_curve(test[label_column(label)], test[score_column(label)])[:2] for label in labels}
