"""The search for the best cut-off as a pipeline: fine-tuning from each candidate in a pod of its own, side by side.

One pod that tries them all (`transfer_learning` with `model_cut_off=auto`) computes less; this takes less time where
there are GPUs for several.
"""

from functools import partial

from kfp import dsl

from components.config import AUTO_CUT_OFF, Evaluate, ExtractFeatures, FineTune, Ingest, Preprocess, Publish
from components.cut_off_search.component import choose_model, list_cut_offs
from components.evaluate.component import evaluate
from components.extract_features.component import extract_features
from components.fine_tune.component import fine_tune
from components.ingest.component import ingest
from components.preprocess.component import preprocess
from components.publish.component import publish
from pipelines.pods import on_two_gpus, unprivileged
from pipelines.run_form import Form, with_run_form

CANDIDATES_AT_ONCE = 4  # with two GPUs each


@dsl.pipeline(name="radiograft-cutoff-search", display_name="Radiograft: cut-off search")
@partial(with_run_form, model_cut_off=AUTO_CUT_OFF)
def cutoff_search(form: Form) -> None:
    """Transfer learning for medical images: fine-tuning from several cut-offs, the best is kept. Not for diagnosis."""
    run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    attempt = {"checkpoint_root": form.parameters["publish_registry"], "run_id": run_id}

    listed = ingest(**form.of(Ingest))
    stored = preprocess(catalogue=listed.outputs["catalogue"], **form.of(Preprocess))
    shards = stored.outputs["shards"]
    extracted = extract_features(
        shards=shards, task_name=dsl.PIPELINE_TASK_NAME_PLACEHOLDER, **attempt, **form.of(ExtractFeatures)
    )
    start = extracted.outputs["feature_model"]
    candidates = list_cut_offs(feature_model=start, model_cut_off=form.parameters["model_cut_off"])
    with dsl.ParallelFor(candidates.output, name="candidates", parallelism=CANDIDATES_AT_ONCE) as cut_off:
        tuned = fine_tune(
            shards=shards,
            feature_model=start,
            task_name=cut_off,  # its own name is the same for all, and so would be the place of its checkpoints
            **attempt,
            **(form.of(FineTune) | {"model_cut_off": cut_off}),
        )
        on_two_gpus(tuned, cpu="8", memory="32Gi", shared_memory="8Gi", hours=72)
    chosen = choose_model(models=dsl.Collected(tuned.outputs["model"]))
    judged = evaluate(
        shards=shards,
        features=extracted.outputs["features"],
        feature_model=start,
        model=chosen.outputs["model"],
        run_id=run_id,
        **form.of(Evaluate),
    )
    published = publish(
        model=chosen.outputs["model"],
        evaluation=judged.outputs["evaluation"],
        report=judged.outputs["report"],
        run_id=run_id,
        **form.of(Publish),
    )

    on_two_gpus(listed, cpu="4", memory="8Gi", shared_memory="1Gi", hours=6)
    on_two_gpus(stored, cpu="8", memory="16Gi", shared_memory="4Gi", hours=12)
    on_two_gpus(extracted, cpu="8", memory="32Gi", shared_memory="8Gi", hours=24)
    on_two_gpus(judged, cpu="8", memory="16Gi", shared_memory="8Gi", hours=12)
    for task in (candidates, chosen):
        unprivileged(task, cpu="2", memory="8Gi", hours=1)
    unprivileged(published, cpu="1", memory="2Gi", hours=1)
    listed.set_caching_options(False)  # what lies behind data_source may have changed
    published.set_caching_options(False)  # each run publishes its own version
