"""The cut-off search pipeline: fine-tunes from each candidate cut-off in its own pod, in parallel.

`transfer_learning` with `model_cut_off=auto` tries the candidates in a single pod. That needs less compute, but this
pipeline finishes sooner if there are GPUs for several pods.
"""

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

MAX_PARALLEL_CANDIDATES = 4  # each uses two GPUs


@dsl.pipeline(name="radiograft-cutoff-search", display_name="Radiograft: cut-off search")
@pipeline_from_settings(model_cut_off=AUTO_CUT_OFF)
def cutoff_search(parameters: PipelineParameters) -> None:
    """Transfer learning for medical images: fine-tuning from several cut-offs, the best is kept. Not for diagnosis."""
    data = ingest_task(parameters)
    with dsl.If(should_train(data), name="Worth training"):
        shards = preprocess_task(parameters, data.outputs["catalog"]).outputs["shards"]
        extraction = extract_features_task(parameters, shards)
        start = extraction.outputs["feature_model"]
        candidates = list_cut_offs(feature_model=start, model_cut_off=parameters.values["model_cut_off"])
        # unnamed: KFP 2.17 cannot collect outputs of a named loop (github.com/kubeflow/pipelines/issues/13239)
        with dsl.ParallelFor(candidates.output, parallelism=MAX_PARALLEL_CANDIDATES) as cut_off:
            candidate = fine_tune_task(parameters, shards, start, cut_off)
        best = choose_model(models=dsl.Collected(candidate.outputs["model"]))
        evaluation = evaluate_task(parameters, shards, extraction, best.outputs["model"])
        publish_task(parameters, best.outputs["model"], evaluation)
    for task in (candidates, best):
        restrict_pod(task, cpu="2", memory="8Gi", hours=1)
