"""The pipeline: from radiographs to a published, versioned model. The whole DAG stands on this screen."""

from kfp import dsl

from components.config import Evaluate, ExtractFeatures, FineTune, Ingest, Preprocess, Publish
from components.evaluate.component import evaluate
from components.extract_features.component import extract_features
from components.fine_tune.component import fine_tune
from components.ingest.component import ingest
from components.preprocess.component import preprocess
from components.publish.component import publish
from pipelines.pods import on_two_gpus, unprivileged
from pipelines.run_form import Form, with_run_form


@dsl.pipeline(name="radiograft-transfer-learning", display_name="Radiograft: transfer learning")
@with_run_form
def transfer_learning(form: Form) -> None:
    """Transfer learning for medical images: frozen features, then fine-tuning from a cut-off. Not for diagnosis."""
    run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    attempt = {
        "checkpoint_root": form.parameters["publish_registry"],
        "run_id": run_id,
        "task_name": dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
    }

    listed = ingest(**form.of(Ingest))
    stored = preprocess(catalogue=listed.outputs["catalogue"], **form.of(Preprocess))
    shards = stored.outputs["shards"]
    extracted = extract_features(shards=shards, **attempt, **form.of(ExtractFeatures))
    start = extracted.outputs["feature_model"]
    tuned = fine_tune(shards=shards, feature_model=start, **attempt, **form.of(FineTune))
    judged = evaluate(
        shards=shards,
        features=extracted.outputs["features"],
        feature_model=start,
        model=tuned.outputs["model"],
        run_id=run_id,
        **form.of(Evaluate),
    )
    published = publish(
        model=tuned.outputs["model"],
        evaluation=judged.outputs["evaluation"],
        report=judged.outputs["report"],
        run_id=run_id,
        **form.of(Publish),
    )

    on_two_gpus(listed, cpu="4", memory="8Gi", shared_memory="1Gi", hours=6)
    on_two_gpus(stored, cpu="8", memory="16Gi", shared_memory="4Gi", hours=12)
    on_two_gpus(extracted, cpu="8", memory="32Gi", shared_memory="8Gi", hours=24)
    on_two_gpus(tuned, cpu="8", memory="32Gi", shared_memory="8Gi", hours=72)
    on_two_gpus(judged, cpu="8", memory="16Gi", shared_memory="8Gi", hours=12)
    unprivileged(published, cpu="1", memory="2Gi", hours=1)
    listed.set_caching_options(False)  # what lies behind data_source may have changed
    published.set_caching_options(False)  # each run publishes its own version
