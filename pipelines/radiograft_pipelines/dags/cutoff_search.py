"""The search for the best cut-off as a pipeline: fine-tuning from each candidate in a pod of its own, side by side.

One pod that tries them all (`transfer_learning` with `model_cut_off=auto`) computes less; this takes less time where
there are GPUs for several.
"""

from functools import partial

from kfp import dsl

from radiograft.config import AUTO_CUT_OFF
from radiograft.stages.select_model.component import choose_model, list_cut_offs
from radiograft_pipelines.dags.parameters import PipelineParameters, pipeline_from_settings
from radiograft_pipelines.dags.tasks import (
    evaluate_task,
    extract_features_task,
    fine_tune_task,
    ingest_task,
    preprocess_task,
    publish_task,
    restrict_pod,
    should_train,
)

CANDIDATES_AT_ONCE = 4  # with two GPUs each


@dsl.pipeline(name="radiograft-cutoff-search", display_name="Radiograft: cut-off search")
@partial(pipeline_from_settings, model_cut_off=AUTO_CUT_OFF)
def cutoff_search(form: PipelineParameters) -> None:
    """Transfer learning for medical images: fine-tuning from several cut-offs, the best is kept. Not for diagnosis."""
    data = ingest_task(form)
    with dsl.If(should_train(data), name="Worth training"):
        shards = preprocess_task(form, data.outputs["catalog"]).outputs["shards"]
        extraction = extract_features_task(form, shards)
        start = extraction.outputs["feature_model"]
        candidates = list_cut_offs(feature_model=start, model_cut_off=form.parameters["model_cut_off"])
        # KFP 2.17 does not find what a loop with a name collects (github.com/kubeflow/pipelines/issues/13239)
        with dsl.ParallelFor(candidates.output, parallelism=CANDIDATES_AT_ONCE) as cut_off:
            tried = fine_tune_task(form, shards, start, cut_off)
        chosen = choose_model(models=dsl.Collected(tried.outputs["model"]))
        judged = evaluate_task(form, shards, extraction, chosen.outputs["model"])
        publish_task(form, chosen.outputs["model"], judged)
    for task in (candidates, chosen):
        restrict_pod(task, cpu="2", memory="8Gi", hours=1)
