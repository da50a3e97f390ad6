"""What a task's pod gets: GPUs, memory, shared memory, time-outs, writable folders, and no privileges."""

from __future__ import annotations

from kfp import dsl, kubernetes

from components.stage import PROMISED_GPUS_VARIABLE

# Constants: KFP drops an accelerator limit that is an int parameter, or has no type, and the run goes on without GPU.
GPU_TYPE = "nvidia.com/gpu"
GPUS = 2
USER = 1000
WRITABLE = "/tmp"  # the root file system may be read-only; HOME and every cache lie here
CACHES = {"HOME": "", "KERAS_HOME": "/keras", "MPLCONFIGDIR": "/matplotlib", "XDG_CACHE_HOME": "/cache"}


def on_two_gpus(task: dsl.PipelineTask, *, cpu: str, memory: str, shared_memory: str, hours: int) -> dsl.PipelineTask:
    """A pod with two GPUs, which the task insists on, and a memory-backed /dev/shm for its input pipeline."""
    task.set_accelerator_type(GPU_TYPE).set_accelerator_limit(GPUS)
    task.set_env_variable(PROMISED_GPUS_VARIABLE, str(GPUS))
    kubernetes.empty_dir_mount(
        task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit=shared_memory
    )
    return unprivileged(task, cpu=cpu, memory=memory, hours=hours)


def unprivileged(task: dsl.PipelineTask, *, cpu: str, memory: str, hours: int) -> dsl.PipelineTask:
    """A pod that PodSecurity `restricted` admits, with requests equal to limits, a time-out and retries."""
    for variable, folder in CACHES.items():
        task.set_env_variable(variable, WRITABLE + folder)
    task.set_cpu_request(cpu).set_cpu_limit(cpu).set_memory_request(memory).set_memory_limit(memory)
    task.set_retry(num_retries=2, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="600s")
    kubernetes.empty_dir_mount(task, volume_name="writable", mount_path=WRITABLE)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.set_timeout(task, seconds=hours * 3600)
    return task
