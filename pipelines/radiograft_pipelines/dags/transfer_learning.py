"""The pipeline: from radiographs to a published, versioned model. The whole DAG stands on this screen."""

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
@pipeline_from_settings
def transfer_learning(form: PipelineParameters) -> None:
    """Transfer learning for medical images: frozen features, then fine-tuning from a cut-off. Not for diagnosis."""
    data = ingest_task(form)
    with dsl.If(should_train(data), name="Worth training"):
        shards = preprocess_task(form, data.outputs["catalog"]).outputs["shards"]
        extraction = extract_features_task(form, shards)
        model = fine_tune_task(form, shards, extraction.outputs["feature_model"]).outputs["model"]
        judged = evaluate_task(form, shards, extraction, model)
        publish_task(form, model, judged)
