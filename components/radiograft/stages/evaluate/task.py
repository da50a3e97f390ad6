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
from radiograft.evaluation import (
    champion,
    out_of_distribution,
    patient_data,
    promotion_gate,
    regression_gate,
    view_comparison,
)
from radiograft.evaluation.branches import branch_results, predict_branches
from radiograft.evaluation.predictions import (
    BATCH_SIZE,
    PUBLISHED,
    EvaluateInputs,
    load_predictors,
    predict_splits,
    write_golden_predictions,
)
from radiograft.evaluation.results import analysis_notes, compute_results
from radiograft.explain.crops import CROPS, branch_sections, draw_crops
from radiograft.explain.explanations import explain_predictions
from radiograft.models.out_of_distribution import FeatureDistribution
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.registry.analysis_types import OutOfDistribution
from radiograft.registry.result_types import GateDecision
from radiograft.registry.results import SCHEMA_VERSION, DataLineage, EvaluationResults, PredictionResults, write_results
from radiograft.reporting import contact_sheet
from radiograft.reporting.evaluation_report import render_report
from radiograft.reporting.html import ReportSection
from radiograft.stages.evaluate import tensorboard
from radiograft.stages.evaluate.kfp_metrics import KfpMetrics, kfp_metrics
from radiograft.stages.evaluate.report import build_report
from radiograft.storage import checksums
from radiograft.training import devices
from radiograft.training.datasets import with_patient_data, with_views


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
        ValueError: no test image has a mask in the folder `evaluate_masks`.
    """
    devices.make_reproducible(settings.train_seed)
    spec, strategy = ModelSpec.read(inputs.model), devices.distribution_strategy()
    data = with_patient_data(Shards.read(inputs.shards), spec.covariates)
    predictors = load_predictors(inputs, strategy)
    predictions = predict_splits(predictors, with_views(data, spec.lateral))
    test = predictions[(predictions["strategy"] == PUBLISHED) & (predictions["split"] == "test")]
    _write_records(settings, inputs, data, predictions, output)
    model = predictors[PUBLISHED].model
    write_golden_predictions(predictors[PUBLISHED], output, spec.covariates, spec.scales, spec.enlarged_by)
    prediction_results = compute_results(settings, data, inputs, predictions)
    gate = _decide(settings, data, test, prediction_results, champion.load_champion(settings, data, strategy, run_id))
    thresholds, samples = prediction_results["thresholds"][PUBLISHED], settings.evaluate_bootstrap_samples
    explanations = explain_predictions(
        model, spec, strategy, data, test, thresholds, samples, settings.train_seed, settings.evaluate_masks
    )
    embeddings = evaluation_drift.embed_images(data, model, spec, strategy, settings.train_seed)
    drift, drift_section = evaluation_drift.compare_validation_and_test(data, embeddings, settings.train_seed, output)
    if averaged := inputs.averaged_epochs():
        prediction_results["averaged_epochs"] = averaged
    if flag := _measure_flag(settings, inputs, data, model, spec, strategy):
        prediction_results["out_of_distribution"] = flag
    split = prediction_results["judged_on"]
    branches = predict_branches(inputs.model, data, split, strategy, settings.train_seed)
    results = EvaluationResults(
        **prediction_results,
        schema_version=SCHEMA_VERSION,
        lineage=_read_lineage(data, output),
        gate=gate,
        localisation=explanations.localization,  # stored text
        mask_share=explanations.mask_share,
        drift=drift,
        **branch_results(branches, settings, predictions),
        warnings=[
            *analysis_notes(prediction_results),
            *evaluation_drift.drift_warnings(drift),
            *(out_of_distribution.flag_warnings(flag) if flag else []),
        ],
    )
    published = predictors[PUBLISHED]
    fusion_sections = _compare_inputs(settings, inputs, data, spec, published, predictions, results, strategy)
    write_results(output, results)
    sheet = contact_sheet.training_contact_sheet(data, settings.train_seed)
    crops = draw_crops(branches and branches.boxes, split, data)
    sections = [
        *branch_sections(results, crops),
        *fusion_sections,
        *explanations.sections(),
        drift_section,
        *([out_of_distribution.flag_section(flag)] if flag else []),
    ]
    page = build_report(data, inputs, results, predictions, sections, sheet, run_id)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(render_report(page), encoding="utf-8")
    checksums.write_checksum_of_file(report, output)
    plots = [*tensorboard.confusion_images(results), *tensorboard.agreement_images(page.agreement)]
    images = [tensorboard.augmentation_sheet(sheet), *plots, *explanations.images()]
    images += [(CROPS, figure.pixels) for figure in crops]
    tensorboard.write_figures(logs, run_id, results, images)
    tensorboard.write_embeddings(logs, PUBLISHED, data, embeddings)
    tensorboard.copy_training_logs([inputs.feature_model, inputs.model], logs)
    return kfp_metrics(results, test)


def _compare_inputs(
    settings: Evaluate,
    inputs: EvaluateInputs,
    data: Shards,
    spec: ModelSpec,
    published: Predictor,
    predictions: pd.DataFrame,
    results: EvaluationResults,
    strategy: tf.distribute.Strategy,
) -> list[ReportSection]:
    """Adds to the results what lateral images and patient data contribute, and returns the section on the latter.

    Both are compared by AUROC, which numbers do not have.
    """
    if spec.is_numeric:
        further = [*(["lateral images"] if spec.lateral else []), *(["patient data"] if spec.covariates else [])]
        results["warnings"] += [
            f"what {name} contribute is not measured: it is a difference of AUROCs, which numbers do not have"
            for name in further
        ]
        return []
    if views := view_comparison.compare_views(published.model, strategy, data, settings):
        results["views"] = views
    if not spec.covariates:
        return []
    estimable = results["metrics"][PUBLISHED]["test"]["mean"]["labels"]
    options = with_views(data, spec.lateral), spec.covariates
    alone = patient_data.predict_alone(inputs.feature_model, *options, published, strategy)
    results["patient_data"] = patient_data.compare_fusion(settings, *options, predictions, alone, estimable)
    results["warnings"] += patient_data.fusion_notes(results["patient_data"])
    return [patient_data.fusion_section(results["patient_data"])]


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
    settings = read_settings(output)
    found = DataLineage(source=data.summary["source"], fingerprint=data.summary["fingerprint"], settings=settings)
    if data.image_input.enlarged_by:
        found["enlarged_by"] = data.image_input.enlarged_by._asdict()
    return found


def _decide(
    settings: Evaluate,
    data: Shards,
    test: pd.DataFrame,
    prediction_results: PredictionResults,
    production_model: promotion_gate.Champion | None,
) -> GateDecision:
    """Decides whether the model may replace the production model, on the same test images."""
    metrics = prediction_results["metrics"][PUBLISHED]["test"]
    intervals = settings.evaluate_bootstrap_samples, settings.train_seed
    if "regression" in metrics:
        limits = regression_gate.ErrorPolicy(
            settings.gate_noninferiority_margin, settings.gate_min_r2, settings.evaluate_min_patients
        )
        return regression_gate.decide_promotion(test, production_model, metrics["regression"], limits, *intervals)
    policy = promotion_gate.GatePolicy(
        settings.gate_noninferiority_margin, settings.floors(data.labels), settings.evaluate_min_patients
    )
    return promotion_gate.decide_promotion(test, production_model, metrics["mean"]["labels"], policy, *intervals)
