"""What the report shows, gathered from the results and from what the earlier stages wrote."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import pandas as pd

from radiograft.data.catalog import label_column, score_column
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation import promotion_gate
from radiograft.evaluation.predictions import PUBLISHED, EvaluateInputs
from radiograft.evaluation.results import analysis_sections
from radiograft.metrics.multilabel import roc_curve
from radiograft.registry.results import EvaluationResults
from radiograft.reporting.evaluation_report import Exclusion, Report, SplitCount
from radiograft.reporting.html import ReportSection


def build_report(
    data: Shards,
    inputs: EvaluateInputs,
    results: EvaluationResults,
    predictions: pd.DataFrame,
    sections: Sequence[ReportSection],
    sheet: bytes,
    run_id: str,
) -> Report:
    """The report of an evaluation.

    Args:
        results: content of metrics.json.
        sections: what else was looked at, in the order of the page.
        sheet: the contact sheet as a PNG file.
    """
    test = predictions[predictions["split"] == "test"]
    return Report(
        title=", ".join(data.labels[:3]) + (" and others" if len(data.labels) > 3 else ""),
        run_id=run_id,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        published=PUBLISHED,
        metrics=results["metrics"],
        roc={str(name): _curves(frame, data.labels) for name, frame in test.groupby("strategy", sort=False)},
        histories={name: history["epochs"] for name, history in inputs.histories().items()},
        random_baseline=results["random_baseline"],
        kept_epochs=results["kept_epochs"],
        cut_off_curve=results["cut_off_curve"],
        cut_off_search=results["cut_off_search"],
        decision=promotion_gate.explain_decision(results["gate"]),
        sections=[ReportSection("gate.html.j2", results["gate"]), *analysis_sections(results), *sections],
        data_counts=[
            SplitCount(split, count["pictures"], count["patients"], count["positives"])
            for split, count in data.summary["splits"].items()
        ],
        exclusions=[Exclusion(**group) for group in data.summary["excluded"]],
        settings=results["lineage"]["settings"],
        lineage={
            "data source": results["lineage"]["source"],
            "data fingerprint": results["lineage"]["fingerprint"],
        },
        contact_sheet_png=sheet,
        notes=_notes(data, results),
    )


def _notes(data: Shards, results: EvaluationResults) -> list[str]:
    notes = [*results["warnings"], *data.summary["notes"]]
    notes += [f"{count:,} images were {mode} and were made gray" for mode, count in data.summary["converted"].items()]
    if results["kept_epochs"][PUBLISHED] == 0:
        notes.append(
            "no epoch of fine-tuning raised the validation AUROC: the published model is the one it began with"
        )
    return notes


def _curves(test: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, tuple[list[float], list[float]]]:
    estimable = [label for label in labels if test[label_column(label)].nunique() > 1]
    return {label: roc_curve(test[label_column(label)], test[score_column(label)])[:2] for label in estimable}
