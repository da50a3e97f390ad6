"""The preprocess stage as a pipeline: parallel workers, one pod each, and a task that merges their shards."""

from kfp import dsl

from radiograft_pipelines.dags.tasks import collect_shards_task, list_workers_task, preprocess_worker_task


@dsl.pipeline(name="preprocess", display_name="Preprocess")
def preprocess(catalog: dsl.Input[dsl.Dataset], settings: str, checkpoint_root: str) -> dsl.Dataset:
    """Converts the catalog's images to shards."""
    workers = list_workers_task(settings)
    with dsl.ParallelFor(workers.output) as worker:  # unnamed, see `radiograft_pipelines.dags.cutoff_search`
        share = preprocess_worker_task(catalog, settings, checkpoint_root, worker)
    collected = collect_shards_task(catalog, settings, dsl.Collected(share.outputs["part"]))
    return collected.outputs["shards"]


def preprocess_task(data: dsl.PipelineTask) -> dsl.PipelineTask:
    """Converts the images of the catalog that ingest wrote."""
    settings, registry = data.outputs["preprocess_settings"], data.outputs["registry"]
    return preprocess(catalog=data.outputs["catalog"], settings=settings, checkpoint_root=registry).set_display_name(
        "Preprocess"
    )
