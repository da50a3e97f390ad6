"""The evaluate stage: evaluates both strategies, applies the promotion gate and writes the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Self

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
from radiograft.explain.explanations import Explanations, explain_predictions
from radiograft.models.out_of_distribution import FeatureDistribution
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.registry.analysis_types import DriftReport
from radiograft.registry.result_types import GateDecision
from radiograft.registry.results import SCHEMA_VERSION, DataLineage, EvaluationResults, PredictionResults, write_results
from radiograft.reporting import contact_sheet
from radiograft.reporting.evaluation_report import Report, render_report
from radiograft.reporting.html import ReportSection
from radiograft.stages.evaluate import tensorboard
from radiograft.stages.evaluate.kfp_metrics import KfpMetrics, kfp_metrics
from radiograft.stages.evaluate.report import build_report
from radiograft.storage import checksums
from radiograft.training import devices
from radiograft.training.datasets import with_patient_data, with_views


@dataclasses.dataclass(frozen=True)
class _LoadedInputs:
    """What several steps of the stage read.

    Attributes:
        settings: settings of the stage.
        folders: artifacts of the earlier stages.
        data: the shards, with the patient data that the networks read.
        spec: specification of the published model.
        strategy: devices to compute on.
        predictors: model of each training strategy.
        predictions: as `predict_splits` returns them.
    """

    settings: Evaluate
    folders: EvaluateInputs
    data: Shards
    spec: ModelSpec
    strategy: tf.distribute.Strategy
    predictors: dict[str, Predictor]
    predictions: pd.DataFrame

    @classmethod
    def load(cls, settings: Evaluate, folders: EvaluateInputs) -> Self:
        """Loads the models and predicts validation and test."""
        spec, strategy = ModelSpec.read(folders.model), devices.distribution_strategy()
        data = with_patient_data(Shards.read(folders.shards), spec.covariates)
        predictors = load_predictors(folders, strategy)
        predictions = predict_splits(predictors, with_views(data, spec.lateral))
        return cls(settings, folders, data, spec, strategy, predictors, predictions)

    @property
    def published(self) -> Predictor:
        """The published model."""
        return self.predictors[PUBLISHED]

    @property
    def test(self) -> pd.DataFrame:
        """Predictions of the published model on test."""
        rows = self.predictions
        return rows[(rows["strategy"] == PUBLISHED) & (rows["split"] == "test")]


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
    loaded = _LoadedInputs.load(settings, inputs)
    data, spec, strategy, seed = loaded.data, loaded.spec, loaded.strategy, settings.train_seed
    _write_records(loaded, output)
    prediction_results = compute_results(settings, data, inputs, loaded.predictions)
    gate = _decide(loaded, prediction_results, champion.load_champion(settings, data, strategy, run_id))
    explanations = _explain(loaded, prediction_results["thresholds"][PUBLISHED])
    embeddings = evaluation_drift.embed_images(data, loaded.published.model, spec, strategy, seed)
    drift, drift_section = evaluation_drift.compare_validation_and_test(data, embeddings, spec, seed, output)
    _add_optional_results(loaded, prediction_results)
    branches = predict_branches(inputs.model, data, prediction_results["judged_on"], strategy, seed)
    results = EvaluationResults(
        **prediction_results,
        schema_version=SCHEMA_VERSION,
        lineage=_read_lineage(data, output),
        gate=gate,
        localisation=explanations.localization,  # stored text
        mask_share=explanations.mask_share,
        drift=drift,
        **branch_results(branches, settings, loaded.predictions),
        warnings=_collect_warnings(prediction_results, drift),
    )
    fusion_sections = _compare_inputs(loaded, results)
    write_results(output, results)
    crops = draw_crops(branches and branches.boxes, results["judged_on"], data)
    sections = [
        *branch_sections(results, crops),
        *fusion_sections,
        *explanations.sections(),
        drift_section,
        *([out_of_distribution.flag_section(flag)] if (flag := results.get("out_of_distribution")) else []),
    ]
    sheet = contact_sheet.training_contact_sheet(data, seed)
    page = build_report(data, inputs, results, loaded.predictions, sections, sheet, run_id)
    _write_report(page, report, output)
    images = [
        tensorboard.augmentation_sheet(sheet),
        *tensorboard.confusion_images(results),
        *tensorboard.agreement_images(page.agreement),
        *explanations.images(),
        *((CROPS, figure.pixels) for figure in crops),
    ]
    tensorboard.write_figures(logs, run_id, results, images)
    tensorboard.write_embeddings(logs, PUBLISHED, data, embeddings)
    tensorboard.copy_training_logs([inputs.feature_model, inputs.model], logs)
    return kfp_metrics(results, loaded.test)


def _write_records(loaded: _LoadedInputs, output: Path) -> None:
    """Writes predictions, the images that the model has seen, settings and golden predictions."""
    output.mkdir(parents=True, exist_ok=True)
    loaded.predictions.to_parquet(output / "predictions.parquet", index=False)
    champion.record_seen_images(loaded.data.rows, output)
    # The settings of ingest come from the shards: in a search, those of the model name only its own cut-off.
    record_settings(output, loaded.settings, loaded.folders.model, loaded.folders.shards)
    spec = loaded.spec
    write_golden_predictions(loaded.published, output, spec.covariates, spec.scales, spec.enlarged_by)


def _decide(
    loaded: _LoadedInputs, prediction_results: PredictionResults, production_model: promotion_gate.Champion | None
) -> GateDecision:
    """Decides whether the model may replace the production model, on the same test images."""
    settings, metrics = loaded.settings, prediction_results["metrics"][PUBLISHED]["test"]
    intervals = settings.evaluate_bootstrap_samples, settings.train_seed
    if "regression" in metrics:
        limits = regression_gate.ErrorPolicy(
            settings.gate_noninferiority_margin, settings.gate_min_r2, settings.evaluate_min_patients
        )
        return regression_gate.decide_promotion(
            loaded.test, production_model, metrics["regression"], limits, *intervals
        )
    policy = promotion_gate.GatePolicy(
        settings.gate_noninferiority_margin, settings.floors(loaded.data.labels), settings.evaluate_min_patients
    )
    return promotion_gate.decide_promotion(loaded.test, production_model, metrics["mean"]["labels"], policy, *intervals)


def _explain(loaded: _LoadedInputs, thresholds: Mapping[str, float]) -> Explanations:
    """Computes the heat maps of the published model, and what they are scored by."""
    return explain_predictions(
        loaded.published.model, loaded.spec, loaded.strategy, loaded.data, loaded.test, thresholds, loaded.settings
    )


def _add_optional_results(loaded: _LoadedInputs, prediction_results: PredictionResults) -> None:
    """Adds epochs that were averaged or distilled, and the out-of-distribution flag, if the model has them."""
    if averaged := loaded.folders.epochs_of("averaged_epochs"):
        prediction_results["averaged_epochs"] = averaged
    if distilled := loaded.folders.epochs_of("distilled_epochs"):
        prediction_results["distilled_epochs"] = distilled
    distribution = FeatureDistribution.read(loaded.folders.model)
    if distribution is None:
        return
    data = loaded.data
    embedding_model = EmbeddingModel(loaded.published.model, loaded.strategy, loaded.spec.tensors)
    splits = ("validation", "test")
    features = {split: embedding_model.embed(data.images(split, BATCH_SIZE))[1] for split in splits}
    patients = {split: data.split(split)["patient_id"] for split in splits}
    prediction_results["out_of_distribution"] = out_of_distribution.measure_flag(
        distribution, features, patients, loaded.settings
    )


def _read_lineage(data: Shards, output: Path) -> DataLineage:
    settings = read_settings(output)
    found = DataLineage(source=data.summary["source"], fingerprint=data.summary["fingerprint"], settings=settings)
    if data.image_input.enlarged_by:
        found["enlarged_by"] = data.image_input.enlarged_by._asdict()
    return found


def _collect_warnings(prediction_results: PredictionResults, drift: DriftReport) -> list[str]:
    flag = prediction_results.get("out_of_distribution")
    return [
        *analysis_notes(prediction_results),
        *evaluation_drift.drift_warnings(drift),
        *(out_of_distribution.flag_warnings(flag) if flag else []),
    ]


def _compare_inputs(loaded: _LoadedInputs, results: EvaluationResults) -> list[ReportSection]:
    """Adds to the results what lateral images and patient data contribute, and returns the section on the latter.

    Both are compared by AUROC, which numbers do not have.
    """
    settings, data, spec, strategy = loaded.settings, loaded.data, loaded.spec, loaded.strategy
    if spec.is_numeric:
        further = [*(["lateral images"] if spec.lateral else []), *(["patient data"] if spec.covariates else [])]
        results["warnings"] += [
            f"what {name} contribute is not measured: it is a difference of AUROCs, which numbers do not have"
            for name in further
        ]
        return []
    if views := view_comparison.compare_views(loaded.published.model, strategy, data, settings):
        results["views"] = views
    if not spec.covariates:
        return []
    estimable = results["metrics"][PUBLISHED]["test"]["mean"]["labels"]
    options = with_views(data, spec.lateral), spec.covariates
    alone = patient_data.predict_alone(loaded.folders.feature_model, *options, loaded.published, strategy)
    results["patient_data"] = patient_data.compare_fusion(settings, *options, loaded.predictions, alone, estimable)
    results["warnings"] += patient_data.fusion_notes(results["patient_data"])
    return [patient_data.fusion_section(results["patient_data"])]


def _write_report(page: Report, report: Path, output: Path) -> None:
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(render_report(page), encoding="utf-8")
    checksums.write_checksum_of_file(report, output)
