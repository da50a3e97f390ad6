"""The cut-off search pipeline: fine-tunes from each candidate cut-off in its own pod, in parallel.

`transfer_learning` with `model_cut_off=auto` tries the candidates in a single pod. That needs less compute, but this
pipeline finishes sooner if there are GPUs for several pods.
"""

from typing import Any

from kfp import dsl

from radiograft.config.resolution import CUTOFF_SEARCH
from radiograft_pipelines.dags.form import describe_pipeline, pipeline_with_form
from radiograft_pipelines.dags.preprocess import preprocess_task
from radiograft_pipelines.dags.tasks import (
    MAX_PARALLEL_CANDIDATES,
    choose_model_task,
    evaluate_task,
    extract_features_task,
    fine_tune_task,
    ingest_task,
    list_cut_offs_task,
    publish_task,
)


@dsl.pipeline(name="fine-tune-candidates")
def fine_tune_candidates(
    shards: dsl.Input[dsl.Dataset], feature_model: dsl.Input[dsl.Model], settings: str, checkpoint_root: str
) -> dsl.Model:
    """Fine-tunes from each candidate cut-off and keeps the best model."""
    candidates = list_cut_offs_task(feature_model, settings)
    # unnamed: KFP 2.17 cannot collect outputs of a named loop (github.com/kubeflow/pipelines/issues/13239)
    with dsl.ParallelFor(candidates.output, parallelism=MAX_PARALLEL_CANDIDATES) as overrides:
        candidate = fine_tune_task(shards, feature_model, settings, checkpoint_root, overrides)
    return choose_model_task(dsl.Collected(candidate.outputs["model"])).outputs["model"]


@dsl.pipeline(
    name="radiograft-cutoff-search",
    display_name="Radiograft: cut-off search",
    description=describe_pipeline(
        "Transfer learning for medical images: fine-tunes from several cut-offs and keeps the best."
    ),
)
@pipeline_with_form
def cutoff_search(form: dict[str, Any]) -> None:
    """Fine-tunes from several cut-offs and keeps the best."""
    data = ingest_task(form, CUTOFF_SEARCH)
    shards = preprocess_task(data).output
    extraction = extract_features_task(shards, data.outputs["extract_features_settings"], data.outputs["registry"])
    best = fine_tune_candidates(
        shards=shards,
        feature_model=extraction.outputs["feature_model"],
        settings=data.outputs["fine_tune_settings"],
        checkpoint_root=data.outputs["registry"],
    ).set_display_name("Fine-tune")
    evaluation = evaluate_task(data, shards, extraction, best.output)
    publish_task(data, best.output, evaluation)
