"""The transfer learning pipeline: from radiographs to a published, versioned model."""

from kfp import dsl

from radiograft_pipelines.dags.parameters import PipelineParameters, pipeline_from_settings
from radiograft_pipelines.dags.tasks import (
    evaluate_task,
    extract_features_task,
    fine_tune_task,
    ingest_task,
    preprocess_task,
    publish_task,
    should_train,
)


@dsl.pipeline(name="radiograft-transfer-learning", display_name="Radiograft: transfer learning")
@pipeline_from_settings()
def transfer_learning(parameters: PipelineParameters) -> None:
    """Transfer learning for medical images: frozen features, then fine-tuning from a cut-off. Not for diagnosis."""
    data = ingest_task(parameters)
    with dsl.If(should_train(data), name="Worth training"):
        shards = preprocess_task(parameters, data.outputs["catalog"]).outputs["shards"]
        extraction = extract_features_task(parameters, shards)
        model = fine_tune_task(parameters, shards, extraction.outputs["feature_model"]).outputs["model"]
        evaluation = evaluate_task(parameters, shards, extraction, model)
        publish_task(parameters, model, evaluation)
