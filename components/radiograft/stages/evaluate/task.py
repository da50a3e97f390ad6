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
from radiograft.evaluation.golden_predictions import record_sample
from radiograft.evaluation.predictions import PUBLISHED, Inputs, load, predict
from radiograft.evaluation.results import measure_all
from radiograft.explain.gallery import Looks, look
from radiograft.reporting import contact_sheet
from radiograft.reporting.evaluation_report import render_report
from radiograft.stages.evaluate import tensorboard
from radiograft.stages.evaluate.kfp_metrics import Outcome, outcome
from radiograft.stages.evaluate.report import page
from radiograft.storage import checksums
from radiograft.training import devices


def run(settings: Evaluate, inputs: Inputs, run_id: str, output: Path, report: Path, logs: Path) -> Outcome:
    """Writes predictions, metrics, seen.parquet and the data's sample for later comparisons to the folder `output`,
    one HTML file to `report` and what TensorBoard shows to the folder `logs`.

    Raises:
        RuntimeError: promised GPUs are missing.
    """
    devices.make_reproducible(settings.train_seed)
    data, strategy = Shards.read(inputs.shards), devices.strategy()
    predictors = load(inputs, strategy)
    predictions = predict(predictors, data)
    test = predictions[(predictions["strategy"] == PUBLISHED) & (predictions["split"] == "test")]
    _record(settings, inputs, data, predictions, output)
    record_sample(predictors[PUBLISHED], output)
    facts = measure_all(settings, data, inputs, predictions) | {"lineage": _lineage(data, output)}
    opponent = champion.challenge(settings, data, strategy, run_id)
    facts["gate"] = _judge(settings, data, test, facts, opponent)
    published = predictors[PUBLISHED].model
    looks = _look(settings, published, strategy, data, test, facts)
    facts["localisation"] = looks.localisation
    observed = evaluation_drift.observe(data, published, strategy, settings.train_seed)
    facts["drift"], shift = evaluation_drift.examine(data, observed, settings.train_seed, output)
    facts["warnings"] = [*results.notes(facts), *evaluation_drift.warnings(facts["drift"])]
    (output / "metrics.json").write_text(json.dumps(facts, indent=2, allow_nan=False), encoding="utf-8")
    report.parent.mkdir(parents=True, exist_ok=True)
    sections, sheet = [*looks.sections(), shift], contact_sheet.of_training_set(data, settings.train_seed)
    report.write_text(render_report(page(data, inputs, facts, predictions, sections, sheet, run_id)), encoding="utf-8")
    checksums.write_beside(report, output)
    pictures = [tensorboard.augmentation_sheet(sheet), *looks.pictures()]
    tensorboard.write_figures(logs, run_id, facts, pictures)
    tensorboard.write_embeddings(logs, PUBLISHED, data, observed)
    return outcome(facts, test, data.labels)


def _record(settings: Evaluate, inputs: Inputs, data: Shards, predictions: pd.DataFrame, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    predictions.to_parquet(output / "predictions.parquet", index=False)
    champion.record_seen(data.rows, output)
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
) -> promotion_gate.Verdict:
    """Whether the published strategy's model may replace the production version, on the same test pictures."""
    rule = promotion_gate.Rule(settings.publish_margin, settings.floors(data.labels), settings.evaluate_fewest_patients)
    estimable = facts["metrics"][PUBLISHED]["test"]["mean"]["labels"]
    return promotion_gate.judge(
        test, opponent, estimable, rule, settings.evaluate_bootstrap_samples, settings.train_seed
    )


def _look(
    settings: Evaluate,
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    data: Shards,
    test: pd.DataFrame,
    facts: dict[str, Any],
) -> Looks:
    thresholds, samples = facts["thresholds"][PUBLISHED], settings.evaluate_bootstrap_samples
    return look(model, strategy, data, test, thresholds, samples, settings.train_seed)
