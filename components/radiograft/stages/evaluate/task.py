"""Evaluation: both strategies on validation and test, thresholds from validation, intervals, one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from radiograft.config import Evaluate
from radiograft.config.base import read_settings, record_settings
from radiograft.data.shards.dataset import Shards
from radiograft.drift import evaluation_drift
from radiograft.evaluation import champion, promotion_gate, results
from radiograft.evaluation.golden_predictions import write_golden_predictions
from radiograft.evaluation.predictions import PUBLISHED, EvaluateInputs, load_predictors, predict_splits
from radiograft.evaluation.results import compute_results
from radiograft.explain.gallery import Explanations, explain_predictions
from radiograft.models.spec import ModelSpec
from radiograft.reporting import contact_sheet
from radiograft.reporting.evaluation_report import render_report
from radiograft.stages.evaluate import tensorboard
from radiograft.stages.evaluate.kfp_metrics import KfpMetrics, kfp_metrics
from radiograft.stages.evaluate.report import build_report
from radiograft.storage import checksums
from radiograft.training import devices


def run(settings: Evaluate, inputs: EvaluateInputs, run_id: str, output: Path, report: Path, logs: Path) -> KfpMetrics:
    """Writes predictions, metrics, seen.parquet and the data's sample for later comparisons to the folder `output`,
    one HTML file to `report` and what TensorBoard shows to the folder `logs`.

    Raises:
        RuntimeError: promised GPUs are missing.
    """
    devices.make_reproducible(settings.train_seed)
    data, strategy = Shards.read(inputs.shards), devices.distribution_strategy()
    predictors = load_predictors(inputs, strategy)
    predictions = predict_splits(predictors, data)
    test = predictions[(predictions["strategy"] == PUBLISHED) & (predictions["split"] == "test")]
    _record(settings, inputs, data, predictions, output)
    write_golden_predictions(predictors[PUBLISHED], output)
    facts = compute_results(settings, data, inputs, predictions) | {"lineage": _lineage(data, output)}
    opponent = champion.load_champion(settings, data, strategy, run_id)
    facts["gate"] = _judge(settings, data, test, facts, opponent)
    published = predictors[PUBLISHED].model
    spec = ModelSpec.read(inputs.model)
    looks = _look(settings, published, spec, strategy, data, test, facts)
    facts["localisation"] = looks.localization
    observed = evaluation_drift.embed_images(data, published, spec, strategy, settings.train_seed)
    facts["drift"], shift = evaluation_drift.compare_validation_and_test(data, observed, settings.train_seed, output)
    facts["warnings"] = [*results.analysis_notes(facts), *evaluation_drift.drift_warnings(facts["drift"])]
    (output / "metrics.json").write_text(json.dumps(facts, indent=2, allow_nan=False), encoding="utf-8")
    report.parent.mkdir(parents=True, exist_ok=True)
    sections, sheet = [*looks.sections(), shift], contact_sheet.training_contact_sheet(data, settings.train_seed)
    report.write_text(
        render_report(build_report(data, inputs, facts, predictions, sections, sheet, run_id)), encoding="utf-8"
    )
    checksums.write_checksum_of_file(report, output)
    images = [tensorboard.augmentation_sheet(sheet), *looks.images()]
    tensorboard.write_figures(logs, run_id, facts, images)
    tensorboard.write_embeddings(logs, PUBLISHED, data, observed)
    return kfp_metrics(facts, test, data.labels)


def _record(settings: Evaluate, inputs: EvaluateInputs, data: Shards, predictions: pd.DataFrame, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    predictions.to_parquet(output / "predictions.parquet", index=False)
    champion.record_seen_images(data.rows, output)
    # as ingest had them, which come with the shards: in a search, the model knows its own cut-off alone
    record_settings(output, settings, inputs.model, inputs.shards)


def _lineage(data: Shards, output: Path) -> dict[str, Any]:
    return {
        "source": data.summary["source"],
        "fingerprint": data.summary["fingerprint"],
        "settings": read_settings(output),
    }


def _judge(
    settings: Evaluate,
    data: Shards,
    test: pd.DataFrame,
    facts: dict[str, Any],
    opponent: promotion_gate.Champion | None,
) -> promotion_gate.GateDecision:
    """Whether the published strategy's model may replace the production version, on the same test images."""
    rule = promotion_gate.GatePolicy(
        settings.gate_noninferiority_margin, settings.floors(data.labels), settings.evaluate_min_patients
    )
    estimable = facts["metrics"][PUBLISHED]["test"]["mean"]["labels"]
    return promotion_gate.decide_promotion(
        test, opponent, estimable, rule, settings.evaluate_bootstrap_samples, settings.train_seed
    )


def _look(
    settings: Evaluate,
    model: keras.Model,
    spec: ModelSpec,
    strategy: tf.distribute.Strategy,
    data: Shards,
    test: pd.DataFrame,
    facts: dict[str, Any],
) -> Explanations:
    thresholds, samples = facts["thresholds"][PUBLISHED], settings.evaluate_bootstrap_samples
    return explain_predictions(model, spec, strategy, data, test, thresholds, samples, settings.train_seed)
