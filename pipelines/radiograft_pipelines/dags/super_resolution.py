"""The super-resolution pipeline, experimental: trains and publishes a network that enlarges images."""

from typing import Any

from kfp import dsl

from radiograft.config.resolution import SUPER_RESOLUTION
from radiograft_pipelines.dags.form import describe_pipeline, pipeline_with_form
from radiograft_pipelines.dags.preprocess import preprocess_task
from radiograft_pipelines.dags.tasks import (
    evaluate_super_resolution_task,
    ingest_task,
    publish_super_resolution_task,
    train_super_resolution_task,
)


@dsl.pipeline(
    name="radiograft-super-resolution",
    display_name="Radiograft: super-resolution",
    description=describe_pipeline("Experimental: trains a network that enlarges medical images."),
)
@pipeline_with_form
def super_resolution(form: dict[str, Any]) -> None:
    """Trains a network that enlarges images to image_size, and publishes it."""
    data = ingest_task(form, SUPER_RESOLUTION)
    shards = preprocess_task(data).output
    model = train_super_resolution_task(data, shards).outputs["model"]
    evaluation = evaluate_super_resolution_task(data, shards, model)
    publish_super_resolution_task(data, model, evaluation)
