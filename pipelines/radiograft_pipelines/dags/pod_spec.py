"""What a task's pod gets: GPUs, memory, shared memory, time-outs, writable folders, labels, and no privileges.

All of it is constant in the compiled package: KFP drops a GPU request that is an int parameter silently, and tells of a
wrong quantity in the driver's log alone. What differs between clusters, `radiograft_pipelines.cluster.profile` changes in the package.
"""

from __future__ import annotations

from kfp import dsl, kubernetes

from radiograft.storage.pseudonyms import SALT_VARIABLE
from radiograft.utils.gpus import PROMISED_GPUS_VARIABLE

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


def on_two_gpus(task: dsl.PipelineTask, *, cpu: str, memory: str, shared_memory: str, hours: int) -> dsl.PipelineTask:
    """A pod with two GPUs, which the task insists on, and a memory-backed /dev/shm for its input pipeline."""
    task.set_accelerator_type(GPU_TYPE).set_accelerator_limit(GPUS)
    task.set_env_variable(PROMISED_GPUS_VARIABLE, str(GPUS))
    kubernetes.add_toleration(task, key=GPU_TYPE, operator="Exists", effect="NoSchedule")
    kubernetes.empty_dir_mount(
        task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit=shared_memory
    )
    return unprivileged(task, cpu=cpu, memory=memory, hours=hours)


def unprivileged(task: dsl.PipelineTask, *, cpu: str, memory: str, hours: int) -> dsl.PipelineTask:
    """A pod that PodSecurity `restricted` admits, with requests equal to limits, a time-out and retries."""
    task.set_display_name(task.name.replace("-", " ").capitalize())
    task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
    task.set_retry(num_retries=2, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="600s")
    kubernetes.empty_dir_mount(task, volume_name="writable", mount_path=WRITABLE)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.set_timeout(task, seconds=hours * 3600)
    kubernetes.set_image_pull_policy(task, PULL_POLICY)
    _labelled(task)
    _with_environment(task)
    return task


def _labelled(task: dsl.PipelineTask) -> None:
    """Labels for selectors; the run's id is KFP's own label `pipeline/runid`."""
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "radiograft")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", task.name)


def _with_environment(task: dsl.PipelineTask) -> None:
    for variable, folder in CACHES.items():
        task.set_env_variable(variable, WRITABLE + folder)
    kubernetes.use_config_map_as_env(task, CONFIG_MAP, {key: key for key in CONFIG_KEYS}, optional=True)
    kubernetes.use_secret_as_env(task, SECRET, SECRET_KEYS, optional=True)
    kubernetes.use_secret_as_env(task, SALT, SALT_KEYS, optional=True)
