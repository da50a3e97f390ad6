"""Evaluation: both strategies on validation and test, thresholds from validation, intervals, one report."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from components.config import Evaluate
from components.evaluate.cut_off_curve import read_curve
from components.evaluate.metrics import SplitMetrics, evaluate_predictions, roc_curve, youden_thresholds
from components.evaluate.report import Exclusion, RandomBaseline, Report, SplitCount, render_report
from components.extract_features.task import RANDOM_PREDICTIONS
from components.fine_tune import search_table
from components.modeling import artifact, devices
from components.modeling.inference import Predictor
from components.records import label_column, prediction_frame, score_column
from components.settings_record import read_settings, record_settings
from components.shards import Shards
from components.stage import log

BATCH_SIZE = 64
PUBLISHED = "fine_tuning"
MEASURES = ("auroc", "average_precision", "accuracy")


class Inputs(NamedTuple):
    """Folders that the earlier stages wrote."""

    shards: Path
    features: Path
    feature_model: Path
    model: Path


class Outcome(NamedTuple):
    """What KFP shows: scalars by name; false and true positive rates with thresholds, or None; confusion matrix."""

    scalars: dict[str, float]
    roc: tuple[list[float], list[float], list[float]] | None
    confusion: list[list[int]]

    def log_to(self, metrics: Any, curves: Any) -> None:
        """Logs to KFP's Metrics and ClassificationMetrics artifacts."""
        for name, value in self.scalars.items():
            metrics.log_metric(name, value)
        curves.log_confusion_matrix(["absent", "present"], self.confusion)
        if self.roc:
            curves.log_roc_curve(*self.roc)


def run(settings: Evaluate, inputs: Inputs, run_id: str, output: Path, report: Path) -> Outcome:
    """Writes predictions.parquet and metrics.json to the folder `output` and one HTML file to `report`.

    Raises:
        RuntimeError: promised GPUs are missing.
    """
    devices.make_reproducible(settings.train_seed)
    data = Shards.read(inputs.shards)
    predictions = _predict(data, inputs)
    output.mkdir(parents=True, exist_ok=True)
    predictions.to_parquet(output / "predictions.parquet", index=False)
    record_settings(output, settings, inputs.shards, inputs.model)
    facts = _facts(settings, data, inputs, predictions)
    facts["lineage"] = {
        "source": data.summary["source"],
        "fingerprint": data.summary["fingerprint"],
        "settings": read_settings(output),
    }
    (output / "metrics.json").write_text(json.dumps(facts, indent=2, allow_nan=False), encoding="utf-8")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(render_report(_report(data, inputs, facts, predictions, run_id)), encoding="utf-8")
    test = predictions[(predictions["strategy"] == PUBLISHED) & (predictions["split"] == "test")]
    return _outcome(facts["metrics"], test, data.labels)


def _facts(settings: Evaluate, data: Shards, inputs: Inputs, predictions: pd.DataFrame) -> dict[str, Any]:
    """Thresholds from validation and every figure that is measured with them."""
    thresholds, metrics = {}, {}
    for strategy, frame in predictions.groupby("strategy", sort=False):
        by_split = dict(list(frame.groupby("split", sort=False)))
        thresholds[str(strategy)] = youden_thresholds(by_split["validation"], data.labels)
        metrics[str(strategy)] = {
            str(split): _measure(settings, part, data.labels, thresholds[str(strategy)])
            for split, part in by_split.items()
        }
    validation, samples = data.split("validation"), settings.evaluate_bootstrap_samples
    return {
        "published": PUBLISHED,
        "thresholds": thresholds,
        "metrics": metrics,
        "cut_off_curve": read_curve(inputs.features, validation, data.labels, samples, settings.train_seed),
        "cut_off_search": search_table.read(inputs.model),
        "random_baseline": _random_baseline(settings, inputs, predictions, data.labels),
    }


def _predict(data: Shards, inputs: Inputs) -> pd.DataFrame:
    """Both models' probabilities on validation and test, with a column `strategy`."""
    strategy, frames = devices.strategy(), []
    for name, folder in {"feature_extraction": inputs.feature_model, PUBLISHED: inputs.model}.items():
        with strategy.scope():
            predictor = Predictor(artifact.load(folder), strategy)
        for split in ("validation", "test"):
            log.debug("%s: predicting %s", name.replace("_", " "), split)
            scores = predictor.whole(data.pictures(split, BATCH_SIZE))
            frames.append(prediction_frame(data.split(split), data.labels, scores).assign(strategy=name))
    return pd.concat(frames, ignore_index=True)


def _measure(
    settings: Evaluate, part: pd.DataFrame, labels: tuple[str, ...], thresholds: dict[str, float]
) -> SplitMetrics:
    return evaluate_predictions(part, labels, thresholds, settings.evaluate_bootstrap_samples, settings.train_seed)


def _random_baseline(
    settings: Evaluate, inputs: Inputs, predictions: pd.DataFrame, labels: tuple[str, ...]
) -> RandomBaseline | None:
    """Validation AUROC of the same classifier on pretrained and on random weights; None where it was not asked for."""
    path = inputs.features / RANDOM_PREDICTIONS
    if not path.exists():
        return None
    chosen = (predictions["strategy"] == "feature_extraction") & (predictions["split"] == "validation")
    frames = {"pretrained": predictions[chosen], "random": pd.read_parquet(path)}
    found = {
        name: _measure(settings, frame, labels, youden_thresholds(frame, labels)) for name, frame in frames.items()
    }
    return RandomBaseline(
        pretrained=found["pretrained"]["mean"]["auroc"],
        random=found["random"]["mean"]["auroc"],
        n_images=found["random"]["n_images"],
        n_patients=found["random"]["n_patients"],
        split="validation",
    )


def _report(data: Shards, inputs: Inputs, facts: dict[str, Any], predictions: pd.DataFrame, run_id: str) -> Report:
    test = predictions[predictions["split"] == "test"]
    histories = {
        name: json.loads((folder / "history.json").read_text())
        for name, folder in (("feature_extraction", inputs.feature_model), (PUBLISHED, inputs.model))
    }
    notes = list(data.summary["notes"])
    notes += [f"{count:,} pictures were {mode} and were made grey" for mode, count in data.summary["converted"].items()]
    if histories[PUBLISHED]["best_epoch"] == 0:
        notes.append(
            "no epoch of fine-tuning raised the validation AUROC: the published model is the one it began with"
        )
    return Report(
        title=", ".join(data.labels[:3]) + (" and others" if len(data.labels) > 3 else ""),
        run_id=run_id,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        published=PUBLISHED,
        metrics=facts["metrics"],
        roc={str(name): _curves(frame, data.labels) for name, frame in test.groupby("strategy", sort=False)},
        histories={name: history["epochs"] for name, history in histories.items()},
        random_baseline=facts["random_baseline"],
        cut_off_curve=facts["cut_off_curve"],
        cut_off_search=facts["cut_off_search"],
        sections=[],
        data_counts=[SplitCount(split, **count) for split, count in data.summary["splits"].items()],
        exclusions=[Exclusion(**group) for group in data.summary["excluded"]],
        settings=facts["lineage"]["settings"],
        lineage={
            "data source": facts["lineage"]["source"],
            "data fingerprint": facts["lineage"]["fingerprint"],
        },
        contact_sheet_png=(inputs.shards / "contact_sheet.png").read_bytes(),
        notes=notes,
    )


def _curves(test: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, tuple[list[float], list[float]]]:
    estimable = [label for label in labels if test[label_column(label)].nunique() > 1]
    return {label: roc_curve(test[label_column(label)], test[score_column(label)])[:2] for label in estimable}


def _outcome(metrics: dict[str, Any], test: pd.DataFrame, labels: tuple[str, ...]) -> Outcome:
    """Scalars of both strategies; curve and confusion matrix over all labels' decisions taken together."""
    scalars = {
        f"{split}_{measure}_{strategy}": value
        for strategy, splits in metrics.items()
        for split, found in splits.items()
        for measure in MEASURES
        if (value := found["mean"][measure]["value"]) is not None
    }
    majority = metrics[PUBLISHED]["test"]["mean"]["majority_accuracy"]
    if majority is not None:
        scalars["test_majority_accuracy"] = majority
    truth = test[[label_column(label) for label in labels]].to_numpy().ravel()
    scores = test[[score_column(label) for label in labels]].to_numpy().ravel()
    confusions = [label["confusion"] for label in metrics[PUBLISHED]["test"]["labels"].values() if label["confusion"]]
    roc = roc_curve(truth, scores) if len(np.unique(truth)) > 1 else None
    return Outcome(scalars, roc, np.sum(confusions, axis=0).astype(int).tolist() if confusions else [[0, 0], [0, 0]])
