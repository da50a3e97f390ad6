"""What the report shows, gathered from the facts and from what the earlier stages wrote."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import pandas as pd

from radiograft.data.catalog import label_column, score_column
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation import promotion_gate, results
from radiograft.evaluation.predictions import PUBLISHED, EvaluateInputs
from radiograft.metrics.multilabel import roc_curve
from radiograft.reporting.evaluation_report import Exclusion, Report, SplitCount
from radiograft.reporting.html import ReportSection


def build_report(
    data: Shards,
    inputs: EvaluateInputs,
    facts: dict[str, Any],
    predictions: pd.DataFrame,
    sections: Sequence[ReportSection],
    sheet: bytes,
    run_id: str,
) -> Report:
    """The report of an evaluation.

    Args:
        facts: all that metrics.json holds.
        sections: what else was looked at, in the order of the page.
        sheet: the contact sheet as a PNG file.
    """
    test = predictions[predictions["split"] == "test"]
    return Report(
        title=", ".join(data.labels[:3]) + (" and others" if len(data.labels) > 3 else ""),
        run_id=run_id,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        published=PUBLISHED,
        metrics=facts["metrics"],
        roc={str(name): _curves(frame, data.labels) for name, frame in test.groupby("strategy", sort=False)},
        histories={name: history["epochs"] for name, history in inputs.histories().items()},
        random_baseline=facts["random_baseline"],
        kept_epochs=facts["kept_epochs"],
        cut_off_curve=facts["cut_off_curve"],
        cut_off_search=facts["cut_off_search"],
        decision=promotion_gate.explain_decision(facts["gate"]),
        sections=[ReportSection("gate.html.j2", facts["gate"]), *results.analysis_sections(facts), *sections],
        data_counts=[
            SplitCount(split, count["pictures"], count["patients"], count["positives"])
            for split, count in data.summary["splits"].items()
        ],
        exclusions=[Exclusion(**group) for group in data.summary["excluded"]],
        settings=facts["lineage"]["settings"],
        lineage={
            "data source": facts["lineage"]["source"],
            "data fingerprint": facts["lineage"]["fingerprint"],
        },
        contact_sheet_png=sheet,
        notes=_notes(data, facts),
    )


def _notes(data: Shards, facts: dict[str, Any]) -> list[str]:
    notes = [*facts["warnings"], *data.summary["notes"]]
    notes += [f"{count:,} images were {mode} and were made gray" for mode, count in data.summary["converted"].items()]
    if facts["kept_epochs"][PUBLISHED] == 0:
        notes.append(
            "no epoch of fine-tuning raised the validation AUROC: the published model is the one it began with"
        )
    return notes


def _curves(test: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, tuple[list[float], list[float]]]:
    estimable = [label for label in labels if test[label_column(label)].nunique() > 1]
    return {label: roc_curve(test[label_column(label)], test[score_column(label)])[:2] for label in estimable}
