"""The backbone comparison pipeline: trains several backbones on the same data, each in its own pods, in parallel.

Test images are evaluated once, for the backbone that is best on validation.
"""

from typing import Any, NamedTuple

from kfp import dsl

from radiograft.config.resolution import BACKBONE_COMPARISON
from radiograft_pipelines.dags.form import describe_pipeline, pipeline_with_form
from radiograft_pipelines.dags.preprocess import preprocess_task
from radiograft_pipelines.dags.tasks import (
    MAX_PARALLEL_CANDIDATES,
    choose_backbone_task,
    evaluate_task,
    extract_features_task,
    fine_tune_task,
    ingest_task,
    list_backbones_task,
    publish_task,
)


class BestBackbone(NamedTuple):
    """Outputs of the best backbone."""

    features: dsl.Dataset
    feature_model: dsl.Model
    model: dsl.Model


@dsl.pipeline(name="train-backbones")
def train_backbones(
    shards: dsl.Input[dsl.Dataset], extract_settings: str, fine_tune_settings: str, checkpoint_root: str
) -> BestBackbone:
    """Trains both strategies with each backbone and keeps the best."""
    trials = list_backbones_task(extract_settings)
    # unnamed, see `radiograft_pipelines.dags.cutoff_search`
    with dsl.ParallelFor(trials.output, parallelism=MAX_PARALLEL_CANDIDATES) as overrides:
        extraction = extract_features_task(shards, extract_settings, checkpoint_root, overrides)
        start = extraction.outputs["feature_model"]
        tuning = fine_tune_task(shards, start, fine_tune_settings, checkpoint_root, overrides)
    best = choose_backbone_task(extraction, tuning)
    return BestBackbone(**{name: best.outputs[name] for name in BestBackbone._fields})


@dsl.pipeline(
    name="radiograft-backbone-comparison",
    display_name="Radiograft: backbone comparison",
    description=describe_pipeline(
        "Transfer learning for medical images: trains several backbones and publishes the best."
    ),
)
@pipeline_with_form
def backbone_comparison(form: dict[str, Any]) -> None:
    """Trains several backbones on the same data and publishes the best on validation."""
    data = ingest_task(form, BACKBONE_COMPARISON)
    shards = preprocess_task(data).output
    best = train_backbones(
        shards=shards,
        extract_settings=data.outputs["extract_features_settings"],
        fine_tune_settings=data.outputs["fine_tune_settings"],
        checkpoint_root=data.outputs["registry"],
    ).set_display_name("Train backbones")
    evaluation = evaluate_task(data, shards, best, best.outputs["model"])
    publish_task(data, best.outputs["model"], evaluation)
