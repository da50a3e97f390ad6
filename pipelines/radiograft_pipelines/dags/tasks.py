"""The pipelines' tasks: each stage with its parameters, its pod's resources and its environment."""

from __future__ import annotations

from typing import Any

from kfp import dsl, kubernetes

from radiograft.registry.lineage import IMAGE_VARIABLE
from radiograft.search.component import choose_settings, list_search_workers, run_trials
from radiograft.stages.container_image import TRAINER_IMAGE
from radiograft.stages.evaluate.component import evaluate
from radiograft.stages.extract_features.component import extract_features
from radiograft.stages.fine_tune.component import fine_tune
from radiograft.stages.ingest.component import ingest
from radiograft.stages.preprocess.component import collect_shards, list_workers, preprocess
from radiograft.stages.publish.component import publish
from radiograft.stages.select_model.component import choose_backbone, choose_model, list_backbones, list_cut_offs
from radiograft.stages.super_resolution.component import (
    evaluate_super_resolution,
    publish_super_resolution,
    train_super_resolution,
)
from radiograft.storage.dicomweb_uri import PASSWORD_VARIABLE, TOKEN_VARIABLE, USER_VARIABLE
from radiograft.storage.pseudonyms import SALT_VARIABLE
from radiograft.utils.gpus import PROMISED_GPUS_VARIABLE

RUN_ID = dsl.PIPELINE_JOB_ID_PLACEHOLDER

GPU_TYPE = "nvidia.com/gpu"
GPUS = 2
MAX_PARALLEL_CANDIDATES = 4  # trials of a search at a time; each uses GPUS
USER = 10001  # the user of the image; above the range of ids that nodes use themselves
WRITABLE = "/tmp"  # holds HOME and all caches, since the root file system may be read-only
CACHES = {"HOME": "", "KERAS_HOME": "/keras", "MPLCONFIGDIR": "/matplotlib", "XDG_CACHE_HOME": "/cache"}
PULL_POLICY = "IfNotPresent"
# Optional settings of an S3 store. The keys of the secret are those of KFP's own secret.
CONFIG_MAP, CONFIG_KEYS = "radiograft", ("AWS_ENDPOINT_URL", "AWS_REGION")
SECRET, SECRET_KEYS = "radiograft-store", {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
# Salt for hashing patient ids, see `radiograft.storage.pseudonyms`.
SALT, SALT_KEYS = "radiograft-salt", {"salt": SALT_VARIABLE}
# Credentials of a PACS, for the stages that read the images.
PACS, PACS_KEYS = "radiograft-pacs", {"user": USER_VARIABLE, "password": PASSWORD_VARIABLE, "token": TOKEN_VARIABLE}


def ingest_task(form: dict[str, Any], pipeline: str) -> dsl.PipelineTask:
    """Resolves the settings and reads the data. Never cached, because the data behind a URI may have changed."""
    task = ingest(run_id=RUN_ID, pipeline=pipeline, **form)
    task.set_caching_options(False)
    _set_pacs_credentials(task)
    return request_gpus(task, cpu="4", memory="8Gi", shared_memory="1Gi", hours=6)


def data_changed(data: dsl.PipelineTask) -> Any:
    """Returns the condition of retraining: the return value of ingest.

    KFP calls a return value `Output`. Its local runner evaluates a condition on an output of any other name to false.
    """
    return data.outputs["Output"] == True  # noqa: E712  evaluated when the pipeline runs


def list_workers_task(settings: Any) -> dsl.PipelineTask:
    """Lists the workers of the preprocess stage."""
    return restrict_pod(list_workers(settings=settings), cpu="1", memory="2Gi", hours=1)


def preprocess_worker_task(catalog: Any, settings: Any, checkpoint_root: Any, worker: Any) -> dsl.PipelineTask:
    """Converts one worker's images to shards."""
    task = preprocess(catalog=catalog, worker=worker, settings=settings, checkpoint_root=checkpoint_root, run_id=RUN_ID)
    _set_pacs_credentials(task)
    return request_gpus(task, cpu="8", memory="16Gi", shared_memory="4Gi", hours=12)


def collect_shards_task(catalog: Any, settings: Any, parts: Any) -> dsl.PipelineTask:
    """Merges the shards of all workers."""
    task = collect_shards(catalog=catalog, parts=parts, settings=settings)
    return restrict_pod(task, cpu="2", memory="8Gi", hours=2)


def extract_features_task(shards: Any, settings: Any, checkpoint_root: Any, overrides: Any = "") -> dsl.PipelineTask:
    """Runs the frozen backbone and trains a classifier on its features, with the `overrides` of a trial in a loop."""
    attempt = _attempt(checkpoint_root, overrides)
    task = extract_features(shards=shards, settings=settings, overrides=overrides, **attempt)
    return request_gpus(task, cpu="8", memory="32Gi", shared_memory="8Gi", hours=24)


def fine_tune_task(
    shards: Any, start: Any, settings: Any, checkpoint_root: Any, overrides: Any = ""
) -> dsl.PipelineTask:
    """Fine-tunes from the cut-off in the settings, with the `overrides` of a trial in a loop."""
    attempt = _attempt(checkpoint_root, overrides)
    task = fine_tune(shards=shards, feature_model=start, overrides=overrides, settings=settings, **attempt)
    return request_gpus(task, cpu="8", memory="32Gi", shared_memory="8Gi", hours=72).set_display_name("Fine-tune")


def list_cut_offs_task(feature_model: Any, settings: Any) -> dsl.PipelineTask:
    """Lists the candidates of a cut-off search."""
    return restrict_pod(list_cut_offs(feature_model=feature_model, settings=settings), cpu="2", memory="8Gi", hours=1)


def choose_model_task(models: Any) -> dsl.PipelineTask:
    """Selects the best model of a cut-off search."""
    return restrict_pod(choose_model(models=models), cpu="2", memory="8Gi", hours=1)


def list_backbones_task(settings: Any) -> dsl.PipelineTask:
    """Lists the trials of a backbone comparison."""
    return restrict_pod(list_backbones(settings=settings), cpu="1", memory="2Gi", hours=1)


def choose_backbone_task(extraction: dsl.PipelineTask, tuning: dsl.PipelineTask) -> dsl.PipelineTask:
    """Selects the best backbone from the outputs of both tasks in a loop."""
    outputs = {"all_features": extraction.outputs["features"], "feature_models": extraction.outputs["feature_model"]}
    outputs["models"] = tuning.outputs["model"]
    task = choose_backbone(**{name: dsl.Collected(output) for name, output in outputs.items()})
    return restrict_pod(task, cpu="2", memory="8Gi", hours=1)


def list_search_workers_task(settings: Any) -> dsl.PipelineTask:
    """Lists the workers of a hyperparameter search."""
    return restrict_pod(list_search_workers(settings=settings), cpu="1", memory="2Gi", hours=1)


def run_trials_task(catalog: Any, shards: Any, settings: Any, checkpoint_root: Any, worker: Any) -> dsl.PipelineTask:
    """Runs the trials of one worker of a hyperparameter search."""
    study = {"checkpoint_root": checkpoint_root, "run_id": RUN_ID}
    task = run_trials(catalog=catalog, shards=shards, worker=worker, settings=settings, **study)
    _set_pacs_credentials(task)  # trials of another image size read the images again
    return request_gpus(task, cpu="8", memory="32Gi", shared_memory="8Gi", hours=168)


def choose_settings_task(
    catalog: Any, shards: Any, settings: Any, checkpoint_root: Any, trials: Any
) -> dsl.PipelineTask:
    """Trains the finalists of a hyperparameter search and chooses the winner."""
    study = {"checkpoint_root": checkpoint_root, "run_id": RUN_ID}
    task = choose_settings(catalog=catalog, shards=shards, all_trials=trials, settings=settings, **study)
    _set_pacs_credentials(task)
    return request_gpus(task, cpu="8", memory="32Gi", shared_memory="8Gi", hours=72)


def evaluate_task(data: dsl.PipelineTask, shards: Any, extraction: dsl.PipelineTask, model: Any) -> dsl.PipelineTask:
    """Evaluates the fine-tuned model. Never cached, because the production model may have changed."""
    features, start = (extraction.outputs[name] for name in ("features", "feature_model"))
    settings = data.outputs["evaluate_settings"]
    task = evaluate(
        shards=shards, features=features, feature_model=start, model=model, run_id=RUN_ID, settings=settings
    )
    task.set_caching_options(False)
    return request_gpus(task, cpu="8", memory="16Gi", shared_memory="8Gi", hours=12)


def publish_task(data: dsl.PipelineTask, model: Any, evaluated: dsl.PipelineTask) -> dsl.PipelineTask:
    """Publishes the model to the registry. Never cached, because each run publishes its own version."""
    inputs = {name: evaluated.outputs[name] for name in ("evaluation", "report", "tensorboard")}
    task = publish(model=model, run_id=RUN_ID, settings=data.outputs["publish_settings"], **inputs)
    task.set_caching_options(False)
    task.set_env_variable(IMAGE_VARIABLE, TRAINER_IMAGE)
    return restrict_pod(task, cpu="1", memory="2Gi", hours=1)


def train_super_resolution_task(data: dsl.PipelineTask, shards: Any) -> dsl.PipelineTask:
    """Trains a generator on crops of the images."""
    task = train_super_resolution(
        shards=shards,
        settings=data.outputs["super_resolution_settings"],
        backbone_settings=data.outputs["extract_features_settings"],
        checkpoint_root=data.outputs["registry"],
        run_id=RUN_ID,
    )
    return request_gpus(task, cpu="8", memory="32Gi", shared_memory="8Gi", hours=72)


def evaluate_super_resolution_task(data: dsl.PipelineTask, shards: Any, model: Any) -> dsl.PipelineTask:
    """Evaluates a generator on the test images."""
    task = evaluate_super_resolution(shards=shards, model=model, settings=data.outputs["evaluate_settings"])
    return request_gpus(task, cpu="8", memory="16Gi", shared_memory="8Gi", hours=12)


def publish_super_resolution_task(data: dsl.PipelineTask, model: Any, evaluated: dsl.PipelineTask) -> dsl.PipelineTask:
    """Publishes a generator to the registry. Never cached, because each run publishes its own version."""
    inputs = {name: evaluated.outputs[name] for name in ("evaluation", "report")}
    task = publish_super_resolution(model=model, run_id=RUN_ID, settings=data.outputs["publish_settings"], **inputs)
    task.set_caching_options(False)
    task.set_env_variable(IMAGE_VARIABLE, TRAINER_IMAGE)
    return restrict_pod(task, cpu="1", memory="2Gi", hours=1)


def _attempt(checkpoint_root: Any, overrides: Any) -> dict[str, Any]:
    """Returns the arguments that locate a stage's checkpoints. They are the same for every retry.

    All tasks of a loop have the same name, so there the overrides of the trial name the checkpoints.
    """
    task_name = overrides or dsl.PIPELINE_TASK_NAME_PLACEHOLDER
    return {"checkpoint_root": checkpoint_root, "run_id": RUN_ID, "task_name": task_name}


def request_gpus(task: dsl.PipelineTask, *, cpu: str, memory: str, shared_memory: str, hours: int) -> dsl.PipelineTask:
    """Requests two GPUs, which the task verifies at start, and a memory-backed /dev/shm for the input pipeline."""
    task.set_accelerator_type(GPU_TYPE).set_accelerator_limit(GPUS)
    task.set_env_variable(PROMISED_GPUS_VARIABLE, str(GPUS))
    kubernetes.add_toleration(task, key=GPU_TYPE, operator="Exists", effect="NoSchedule")
    kubernetes.empty_dir_mount(
        task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit=shared_memory
    )
    return restrict_pod(task, cpu=cpu, memory=memory, hours=hours)


def restrict_pod(task: dsl.PipelineTask, *, cpu: str, memory: str, hours: int) -> dsl.PipelineTask:
    """Satisfies the PodSecurity level `restricted`, sets requests equal to limits, a timeout and retries."""
    task.set_display_name(task.name.replace("-", " ").capitalize())
    task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
    task.set_retry(num_retries=2, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="600s")
    kubernetes.empty_dir_mount(task, volume_name="writable", mount_path=WRITABLE)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.set_timeout(task, seconds=hours * 3600)
    kubernetes.set_image_pull_policy(task, PULL_POLICY)
    _set_labels(task)
    _set_environment(task)
    return task


def _set_labels(task: dsl.PipelineTask) -> None:
    """Sets labels for selectors. KFP itself sets the run's id as `pipeline/runid`."""
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "radiograft")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", task.name)


def _set_pacs_credentials(task: dsl.PipelineTask) -> None:
    kubernetes.use_secret_as_env(task, PACS, PACS_KEYS, optional=True)


def _set_environment(task: dsl.PipelineTask) -> None:
    for variable, folder in CACHES.items():
        task.set_env_variable(variable, WRITABLE + folder)
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, {key: key for key in CONFIG_KEYS}, optional=True)
    kubernetes.use_secret_as_env(task, SECRET, SECRET_KEYS, optional=True)
    kubernetes.use_secret_as_env(task, SALT, SALT_KEYS, optional=True)
