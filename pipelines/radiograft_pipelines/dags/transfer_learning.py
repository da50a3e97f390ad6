"""The transfer learning pipelines: from radiographs to a published, versioned model."""

from typing import Any

from kfp import dsl

from radiograft.config.resolution import RETRAINING, TRANSFER_LEARNING
from radiograft_pipelines.dags.form import describe_pipeline, pipeline_with_form
from radiograft_pipelines.dags.preprocess import preprocess_task
from radiograft_pipelines.dags.tasks import (
    data_changed,
    evaluate_task,
    extract_features_task,
    fine_tune_task,
    ingest_task,
    publish_task,
)


def _train_and_publish(data: dsl.PipelineTask) -> None:
    """Adds the five stages after ingest."""
    shards = preprocess_task(data).output
    extraction = extract_features_task(shards, data.outputs["extract_features_settings"], data.outputs["registry"])
    start = extraction.outputs["feature_model"]
    tuning = fine_tune_task(shards, start, data.outputs["fine_tune_settings"], data.outputs["registry"])
    model = tuning.outputs["model"]
    evaluation = evaluate_task(data, shards, extraction, model)
    publish_task(data, model, evaluation)


@dsl.pipeline(
    name="radiograft-transfer-learning",
    display_name="Radiograft: transfer learning",
    description=describe_pipeline(
        "Transfer learning for medical images: frozen features, then fine-tuning from a cut-off."
    ),
)
@pipeline_with_form
def transfer_learning(form: dict[str, Any]) -> None:
    """Transfer learning for medical images: frozen features, then fine-tuning from a cut-off."""
    _train_and_publish(ingest_task(form, TRANSFER_LEARNING))


@dsl.pipeline(
    name="radiograft-retraining",
    display_name="Radiograft: retraining",
    description=describe_pipeline("Transfer learning for schedules: trains only if data or settings changed."),
)
@pipeline_with_form
def retraining(form: dict[str, Any]) -> None:
    """Transfer learning for schedules: trains only if data or settings changed since production."""
    data = ingest_task(form, RETRAINING)
    with dsl.If(data_changed(data), name="Train and publish"):
        _train_and_publish(data)
