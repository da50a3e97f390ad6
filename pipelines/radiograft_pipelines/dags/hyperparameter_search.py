"""The hyperparameter search pipeline: workers share one study, each in its own pod; the winner is trained as usual."""

from typing import Any, NamedTuple

from kfp import dsl

from radiograft.config.resolution import HYPERPARAMETER_SEARCH
from radiograft_pipelines.dags.form import describe_pipeline, pipeline_with_form
from radiograft_pipelines.dags.preprocess import preprocess_task
from radiograft_pipelines.dags.tasks import (
    choose_settings_task,
    evaluate_task,
    extract_features_task,
    fine_tune_task,
    ingest_task,
    list_search_workers_task,
    publish_task,
    run_trials_task,
)


class Winner(NamedTuple):
    """The winner's images with their augmentation, and its settings of both training stages."""

    shards: dsl.Dataset
    extract_features_settings: str
    fine_tune_settings: str


@dsl.pipeline(name="search-settings")
def search_settings(
    catalog: dsl.Input[dsl.Dataset], shards: dsl.Input[dsl.Dataset], settings: str, checkpoint_root: str
) -> Winner:
    """Runs the trials of all workers and chooses the winner."""
    workers = list_search_workers_task(settings)
    with dsl.ParallelFor(workers.output) as worker:  # unnamed, see `radiograft_pipelines.dags.cutoff_search`
        share = run_trials_task(catalog, shards, settings, checkpoint_root, worker)
    trials = dsl.Collected(share.outputs["trials"])
    chosen = choose_settings_task(catalog, shards, settings, checkpoint_root, trials)
    texts = {name: chosen.outputs[name] for name in ("extract_features_settings", "fine_tune_settings")}
    return Winner(chosen.outputs["best_shards"], **texts)


@dsl.pipeline(
    name="radiograft-hyperparameter-search",
    display_name="Radiograft: hyperparameter search",
    description=describe_pipeline(
        "Transfer learning for medical images: searches settings, then trains with the best.", searches=True
    ),
)
@pipeline_with_form
def hyperparameter_search(form: dict[str, Any]) -> None:
    """Searches settings, then trains, evaluates and publishes with the best on validation."""
    data = ingest_task(form, HYPERPARAMETER_SEARCH)
    registry = data.outputs["registry"]
    winner = search_settings(
        catalog=data.outputs["catalog"],
        shards=preprocess_task(data).output,
        settings=data.outputs["search_settings"],
        checkpoint_root=registry,
    ).set_display_name("Search settings")
    shards = winner.outputs["shards"]
    extraction = extract_features_task(shards, winner.outputs["extract_features_settings"], registry)
    start = extraction.outputs["feature_model"]
    tuning = fine_tune_task(shards, start, winner.outputs["fine_tune_settings"], registry)
    model = tuning.outputs["model"]
    evaluation = evaluate_task(data, shards, extraction, model)
    publish_task(data, model, evaluation)
