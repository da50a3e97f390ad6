"""The stages that the pipelines are made of, each with its settings from the run form and the pod it gets."""

from __future__ import annotations

from typing import Any

from kfp import dsl, kubernetes

from radiograft.config import Evaluate, ExtractFeatures, FineTune, Preprocess, Publish
from radiograft.registry.lineage import IMAGE_VARIABLE
from radiograft.stages.container_image import TRAINER_IMAGE
from radiograft.stages.evaluate.component import evaluate
from radiograft.stages.extract_features.component import extract_features
from radiograft.stages.fine_tune.component import fine_tune
from radiograft.stages.ingest.component import ingest
from radiograft.stages.preprocess.component import collect_shards, list_workers, preprocess
from radiograft.stages.publish.component import publish
from radiograft.storage.pseudonyms import SALT_VARIABLE
from radiograft.utils.gpus import PROMISED_GPUS_VARIABLE
from radiograft_pipelines.dags.parameters import PipelineParameters

RUN_ID = dsl.PIPELINE_JOB_ID_PLACEHOLDER

MODEL_LABEL = "radiograft/model"  # known once it is said what is to run, see `radiograft_pipelines.cluster.profile`
GPU_TYPE = "nvidia.com/gpu"
GPUS = 2
USER = 10001  # that of the image; above the ids that nodes have for themselves
WRITABLE = "/tmp"  # the root file system may be read-only; HOME and every cache lie here
CACHES = {"HOME": "", "KERAS_HOME": "/keras", "MPLCONFIGDIR": "/matplotlib", "XDG_CACHE_HOME": "/cache"}
PULL_POLICY = "IfNotPresent"
# What an S3 store needs, from objects that need not exist; the secret's keys are those of KFP's own secret.
CONFIG_MAP, CONFIG_KEYS = "radiograft", ("AWS_ENDPOINT_URL", "AWS_REGION")
SECRET, SECRET_KEYS = "radiograft-store", {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
SALT, SALT_KEYS = (
    "radiograft-salt",
    {"salt": SALT_VARIABLE},
)  # which hashes patients' ids, see radiograft.storage.pseudonyms


def ingest_task(form: PipelineParameters) -> dsl.PipelineTask:
    """Reads the source; never from the cache, for what lies behind data_source may have changed."""
    task = ingest(run_id=RUN_ID, **form.parameters)
    task.set_caching_options(False)
    return request_gpus(task, cpu="4", memory="8Gi", shared_memory="1Gi", hours=6)


def should_train(data: dsl.PipelineTask) -> Any:
    """The condition under which a run goes on after ingest.

    It is ingest's return value, which KFP calls `Output`: KFP's local runner takes a condition on an output of another
    name for false.
    """
    return data.outputs["Output"] == True  # noqa: E712  compared when the pipeline runs


def preprocess_task(form: PipelineParameters, catalog: Any) -> dsl.PipelineTask:
    """Makes shards of the catalog's images, which workers in pods of their own share; one more collects them."""
    settings, attempt = form.of(Preprocess), _attempt(form, "preprocess")
    workers = list_workers(preprocess_workers=form.parameters["preprocess_workers"])
    with dsl.ParallelFor(workers.output) as worker:  # unnamed, as in `radiograft_pipelines.dags.cutoff_search`
        made = preprocess(catalog=catalog, worker=worker, **attempt, **settings)
    collected = collect_shards(catalog=catalog, parts=dsl.Collected(made.outputs["part"]), **settings)
    request_gpus(made, cpu="8", memory="16Gi", shared_memory="4Gi", hours=12)
    restrict_pod(workers, cpu="1", memory="2Gi", hours=1)
    return restrict_pod(collected, cpu="2", memory="8Gi", hours=2)


def extract_features_task(form: PipelineParameters, shards: Any) -> dsl.PipelineTask:
    """Runs the frozen backbone and trains a classifier on its features."""
    attempt = _attempt(form, dsl.PIPELINE_TASK_NAME_PLACEHOLDER)
    task = extract_features(shards=shards, **attempt, **form.of(ExtractFeatures))
    return request_gpus(task, cpu="8", memory="32Gi", shared_memory="8Gi", hours=24)


def fine_tune_task(form: PipelineParameters, shards: Any, start: Any, cut_off: Any = None) -> dsl.PipelineTask:
    """Fine-tunes from the form's cut-off, or from that of one turn of a loop.

    A loop's tasks all have the same name, and so would be the place of their checkpoints: there it is the cut-off.
    """
    settings = form.of(FineTune) | ({"model_cut_off": cut_off} if cut_off is not None else {})
    attempt = _attempt(form, dsl.PIPELINE_TASK_NAME_PLACEHOLDER if cut_off is None else cut_off)
    task = fine_tune(shards=shards, feature_model=start, **attempt, **settings)
    return request_gpus(task, cpu="8", memory="32Gi", shared_memory="8Gi", hours=72)


def evaluate_task(form: PipelineParameters, shards: Any, extraction: dsl.PipelineTask, model: Any) -> dsl.PipelineTask:
    """Judges the fine-tuned model; never from the cache, for the production model it must match may have changed."""
    features, start = (extraction.outputs[name] for name in ("features", "feature_model"))
    task = evaluate(
        shards=shards, features=features, feature_model=start, model=model, run_id=RUN_ID, **form.of(Evaluate)
    )
    task.set_caching_options(False)
    return request_gpus(task, cpu="8", memory="16Gi", shared_memory="8Gi", hours=12)


def publish_task(form: PipelineParameters, model: Any, judged: dsl.PipelineTask) -> dsl.PipelineTask:
    """Puts the model into the registry; never from the cache, for each run publishes its own version."""
    evaluation, report = (judged.outputs[name] for name in ("evaluation", "report"))
    task = publish(model=model, evaluation=evaluation, report=report, run_id=RUN_ID, **form.of(Publish))
    task.set_caching_options(False)
    task.set_env_variable(IMAGE_VARIABLE, TRAINER_IMAGE)
    return restrict_pod(task, cpu="1", memory="2Gi", hours=1)


def _attempt(form: PipelineParameters, task_name: Any) -> dict[str, Any]:
    """Where a training stage keeps its checkpoints, the same in every attempt."""
    return {"checkpoint_root": form.parameters["publish_registry"], "run_id": RUN_ID, "task_name": task_name}


def request_gpus(task: dsl.PipelineTask, *, cpu: str, memory: str, shared_memory: str, hours: int) -> dsl.PipelineTask:
    """A pod with two GPUs, which the task insists on, and a memory-backed /dev/shm for its input pipeline."""
    task.set_accelerator_type(GPU_TYPE).set_accelerator_limit(GPUS)
    task.set_env_variable(PROMISED_GPUS_VARIABLE, str(GPUS))
    kubernetes.add_toleration(task, key=GPU_TYPE, operator="Exists", effect="NoSchedule")
    kubernetes.empty_dir_mount(
        task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit=shared_memory
    )
    return restrict_pod(task, cpu=cpu, memory=memory, hours=hours)


def restrict_pod(task: dsl.PipelineTask, *, cpu: str, memory: str, hours: int) -> dsl.PipelineTask:
    """A pod that PodSecurity `restricted` admits, with requests equal to limits, a time-out and retries."""
    task.set_display_name(task.name.replace("-", " ").capitalize())
    task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
    task.set_retry(num_retries=2, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="600s")
    kubernetes.empty_dir_mount(task, volume_name="writable", mount_path=WRITABLE)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.set_timeout(task, seconds=hours * 3600)
    kubernetes.set_image_pull_policy(task, PULL_POLICY)
    _labeled(task)
    _with_environment(task)
    return task


def _labeled(task: dsl.PipelineTask) -> None:
    """Labels for selectors; the run's id is KFP's own label `pipeline/runid`."""
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "radiograft")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", task.name)


def _with_environment(task: dsl.PipelineTask) -> None:
    for variable, folder in CACHES.items():
        task.set_env_variable(variable, WRITABLE + folder)
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, {key: key for key in CONFIG_KEYS}, optional=True)
    kubernetes.use_secret_as_env(task, SECRET, SECRET_KEYS, optional=True)
    kubernetes.use_secret_as_env(task, SALT, SALT_KEYS, optional=True)
