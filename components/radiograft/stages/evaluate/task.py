"""The evaluate stage: evaluates both strategies, applies the promotion gate and writes the report."""

from __future__ import annotations

from pathlib import Path

import keras
import pandas as pd
import tensorflow as tf

from radiograft.config import Evaluate
from radiograft.config.base import read_settings, record_settings
from radiograft.data.shards.dataset import Shards
from radiograft.drift import evaluation_drift
from radiograft.drift.reference import EmbeddingModel
from radiograft.evaluation import champion, out_of_distribution, patient_data, promotion_gate
from radiograft.evaluation.predictions import (
    BATCH_SIZE,
    PUBLISHED,
    EvaluateInputs,
    load_predictors,
    predict_splits,
    write_golden_predictions,
)
from radiograft.evaluation.results import analysis_notes, compute_results
from radiograft.explain.explanations import explain_predictions
from radiograft.models.out_of_distribution import FeatureDistribution
from radiograft.models.spec import ModelSpec
from radiograft.registry.analysis_types import OutOfDistribution
from radiograft.registry.result_types import GateDecision
from radiograft.registry.results import SCHEMA_VERSION, DataLineage, EvaluationResults, PredictionResults, write_results
from radiograft.reporting import contact_sheet
from radiograft.reporting.evaluation_report import render_report
from radiograft.stages.evaluate import tensorboard
from radiograft.stages.evaluate.kfp_metrics import KfpMetrics, kfp_metrics
from radiograft.stages.evaluate.report import build_report
from radiograft.storage import checksums
from radiograft.training import devices
from radiograft.training.datasets import with_patient_data


def run(settings: Evaluate, inputs: EvaluateInputs, run_id: str, output: Path, report: Path, logs: Path) -> KfpMetrics:
    """Evaluates both strategies and decides whether the published one may be promoted.

    Args:
        settings: settings of the stage.
        inputs: artifacts of the earlier stages.
        run_id: id of the pipeline run.
        output: folder for predictions, metrics.json, seen.parquet, golden predictions and the drift reference.
        report: HTML file for the report.
        logs: folder for TensorBoard; the curves of both trainings are copied to it.

    Raises:
        RuntimeError: GPUs were requested and are missing.
    """
    devices.make_reproducible(settings.train_seed)
    spec, strategy = ModelSpec.read(inputs.model), devices.distribution_strategy()
    data = with_patient_data(Shards.read(inputs.shards), spec.covariates)
    predictors = load_predictors(inputs, strategy)
    predictions = predict_splits(predictors, data)
    test = predictions[(predictions["strategy"] == PUBLISHED) & (predictions["split"] == "test")]
    _write_records(settings, inputs, data, predictions, output)
    write_golden_predictions(predictors[PUBLISHED], output, spec.covariates)
    prediction_results = compute_results(settings, data, inputs, predictions)
    gate = _decide(settings, data, test, prediction_results, champion.load_champion(settings, data, strategy, run_id))
    model = predictors[PUBLISHED].model
    thresholds, samples = prediction_results["thresholds"][PUBLISHED], settings.evaluate_bootstrap_samples
    explanations = explain_predictions(model, spec, strategy, data, test, thresholds, samples, settings.train_seed)
    embeddings = evaluation_drift.embed_images(data, model, spec, strategy, settings.train_seed)
    drift, drift_section = evaluation_drift.compare_validation_and_test(data, embeddings, settings.train_seed, output)
    if averaged := inputs.averaged_epochs():
        prediction_results["averaged_epochs"] = averaged
    if flag := _measure_flag(settings, inputs, data, model, spec, strategy):
        prediction_results["out_of_distribution"] = flag
    results = EvaluationResults(
        **prediction_results,  # type: ignore[typeddict-item]  # mypy asks for the key that is not required
        schema_version=SCHEMA_VERSION,
        lineage=_read_lineage(data, output),
        gate=gate,
        localisation=explanations.localization,  # stored text
        drift=drift,
        warnings=[
            *analysis_notes(prediction_results),
            *evaluation_drift.drift_warnings(drift),
            *(out_of_distribution.flag_warnings(flag) if flag else []),
        ],
    )
    fusion_sections = []
    if spec.covariates:
        estimable = results["metrics"][PUBLISHED]["test"]["mean"]["labels"]
        options = data, spec.covariates
        alone = patient_data.predict_alone(inputs.feature_model, *options, predictors[PUBLISHED], strategy)
        results["patient_data"] = patient_data.compare_fusion(settings, *options, predictions, alone, estimable)
        results["warnings"] += patient_data.fusion_notes(results["patient_data"])
        fusion_sections = [patient_data.fusion_section(results["patient_data"])]
    write_results(output, results)
    sheet = contact_sheet.training_contact_sheet(data, settings.train_seed)
    flag_sections = [out_of_distribution.flag_section(flag)] if flag else []
    sections = [*fusion_sections, *explanations.sections(), drift_section, *flag_sections]
    page = build_report(data, inputs, results, predictions, sections, sheet, run_id)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(render_report(page), encoding="utf-8")
    checksums.write_checksum_of_file(report, output)
    images = [tensorboard.augmentation_sheet(sheet), *tensorboard.confusion_images(results), *explanations.images()]
    tensorboard.write_figures(logs, run_id, results, images)
    tensorboard.write_embeddings(logs, PUBLISHED, data, embeddings)
    tensorboard.copy_training_logs([inputs.feature_model, inputs.model], logs)
    return kfp_metrics(results, test)


def _measure_flag(
    settings: Evaluate,
    inputs: EvaluateInputs,
    data: Shards,
    model: keras.Model,
    spec: ModelSpec,
    strategy: tf.distribute.Strategy,
) -> OutOfDistribution | None:
    """Measures the out-of-distribution flag on validation and test; None if the network has none."""
    distribution = FeatureDistribution.read(inputs.model)
    if distribution is None:
        return None
    embedding_model, splits = EmbeddingModel(model, strategy, spec.tensors), ("validation", "test")
    features = {split: embedding_model.embed(data.images(split, BATCH_SIZE))[1] for split in splits}
    patients = {split: data.split(split)["patient_id"] for split in splits}
    return out_of_distribution.measure_flag(distribution, features, patients, settings)


def _write_records(
    settings: Evaluate, inputs: EvaluateInputs, data: Shards, predictions: pd.DataFrame, output: Path
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    predictions.to_parquet(output / "predictions.parquet", index=False)
    champion.record_seen_images(data.rows, output)
    # The settings of ingest come from the shards: in a search, those of the model name only its own cut-off.
    record_settings(output, settings, inputs.model, inputs.shards)


def _read_lineage(data: Shards, output: Path) -> DataLineage:
    return DataLineage(
        source=data.summary["source"], fingerprint=data.summary["fingerprint"], settings=read_settings(output)
    )


def _decide(
    settings: Evaluate,
    data: Shards,
    test: pd.DataFrame,
    prediction_results: PredictionResults,
    production_model: promotion_gate.Champion | None,
) -> GateDecision:
    """Decides whether the model may replace the production model, on the same test images."""
    policy = promotion_gate.GatePolicy(
        settings.gate_noninferiority_margin, settings.floors(data.labels), settings.evaluate_min_patients
    )
    estimable = prediction_results["metrics"][PUBLISHED]["test"]["mean"]["labels"]
    return promotion_gate.decide_promotion(
        test, production_model, estimable, policy, settings.evaluate_bootstrap_samples, settings.train_seed
    )
