"""The pipeline: from radiographs to a published, versioned model. The whole DAG stands on this screen."""

from kfp import dsl

from radiograft_pipelines.dags.parameters import Form, with_run_form
from radiograft_pipelines.dags.tasks import (
    evaluated,
    extracted,
    ingested,
    preprocessed,
    published,
    tuned,
    worth_training,
)


@dsl.pipeline(name="radiograft-transfer-learning", display_name="Radiograft: transfer learning")
@with_run_form
def transfer_learning(form: Form) -> None:
    """Transfer learning for medical images: frozen features, then fine-tuning from a cut-off. Not for diagnosis."""
    data = ingested(form)
    with dsl.If(worth_training(data), name="Worth training"):
        shards = preprocessed(form, data.outputs["catalogue"]).outputs["shards"]
        extraction = extracted(form, shards)
        model = tuned(form, shards, extraction.outputs["feature_model"]).outputs["model"]
        judged = evaluated(form, shards, extraction, model)
        published(form, model, judged)
