"""The package that users upload: fresh, and asking the cluster for exactly what each task needs."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipelines" / "compiled" / "transfer_learning.yaml"
ON_GPUS = ("ingest", "preprocess", "extract-features", "fine-tune", "evaluate")
TASKS = (*ON_GPUS, "publish")


@dataclass(frozen=True)
class Task:
    """A task of the DAG with what its pod gets: the container, and the platform document's part."""

    dag: dict[str, Any]
    container: dict[str, Any]
    pod: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return {variable["name"]: variable["value"] for variable in self.container["env"]}

    @property
    def empty_dirs(self) -> dict[str, dict[str, Any]]:
        return {mount["mountPath"]: mount for mount in self.pod["emptyDirMounts"]}


@pytest.fixture(scope="module")
def pipeline() -> dict[str, Any]:
    document: dict[str, Any] = next(yaml.safe_load_all(PACKAGE.read_text()))
    return document


@pytest.fixture(scope="module")
def tasks(pipeline: dict[str, Any]) -> dict[str, Task]:
    """Every task by name, followed from the DAG to its container as the backend does."""
    platform = list(yaml.safe_load_all(PACKAGE.read_text()))[1]["platforms"]["kubernetes"]
    found = {}
    for name, dag in pipeline["root"]["dag"]["tasks"].items():
        executor = pipeline["components"][dag["componentRef"]["name"]]["executorLabel"]
        container = pipeline["deploymentSpec"]["executors"][executor]["container"]
        found[name] = Task(dag, container, platform["deploymentSpec"]["executors"][executor])
    return found


@pytest.fixture(scope="module")
def compile_package(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles as `make compile` does, with variables added to an environment that names no image."""

    def compile_to_folder(**variables: str) -> Path:
        folder = tmp_path_factory.mktemp("compiled")
        environment = {k: v for k, v in os.environ.items() if k != "RADIOGRAFT_TRAINER_IMAGE"} | variables
        command = [sys.executable, "-m", "pipelines.compile", str(folder)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        return folder

    return compile_to_folder


def test_the_committed_packages_are_fresh(compile_package: Callable[..., Path]) -> None:
    fresh = compile_package()
    assert sorted(path.name for path in PACKAGE.parent.iterdir()) == sorted(path.name for path in fresh.iterdir())
    changes = list(
        difflib.unified_diff(
            PACKAGE.read_text().splitlines(),
            (fresh / PACKAGE.name).read_text().splitlines(),
            "committed",
            "compiled now",
            lineterm="",
        )
    )
    assert not changes, "the committed package is stale, run `make compile` and commit:\n" + "\n".join(changes[:60])


def test_the_image_is_named_when_compiling(compile_package: Callable[..., Path]) -> None:
    image = "registry.example/trainer@sha256:" + "0" * 64
    compiled = next(yaml.safe_load_all((compile_package(RADIOGRAFT_TRAINER_IMAGE=image) / PACKAGE.name).read_text()))
    images = [each["container"]["image"] for each in compiled["deploymentSpec"]["executors"].values()]
    assert images == [image] * 6


def test_the_dag(tasks: dict[str, Task]) -> None:
    assert {name: task.dag.get("dependentTasks", []) for name, task in tasks.items()} == {
        "ingest": [],
        "preprocess": ["ingest"],
        "extract-features": ["preprocess"],
        "fine-tune": ["extract-features", "preprocess"],
        "evaluate": ["extract-features", "fine-tune", "preprocess"],
        "publish": ["evaluate", "fine-tune"],
    }


@pytest.mark.parametrize("name", ON_GPUS)
def test_a_stage_asks_for_two_gpus_and_insists_on_them(tasks: dict[str, Task], name: str) -> None:
    accelerator = tasks[name].container["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", "2")
    assert tasks[name].environment["RADIOGRAFT_PROMISED_GPUS"] == "2"


def test_publish_needs_no_gpu(tasks: dict[str, Task]) -> None:
    assert "accelerator" not in tasks["publish"].container["resources"]
    assert "RADIOGRAFT_PROMISED_GPUS" not in tasks["publish"].environment


@pytest.mark.parametrize(
    ("name", "cpu", "memory"),
    [
        ("ingest", "4", "8Gi"),
        ("preprocess", "8", "16Gi"),
        ("extract-features", "8", "32Gi"),
        ("fine-tune", "8", "32Gi"),
        ("evaluate", "8", "16Gi"),
        ("publish", "1", "2Gi"),
    ],
)
def test_requests_equal_limits(tasks: dict[str, Task], name: str, cpu: str, memory: str) -> None:
    resources = tasks[name].container["resources"]
    assert (resources["resourceCpuRequest"], resources["resourceCpuLimit"]) == (cpu, cpu)
    assert (resources["resourceMemoryRequest"], resources["resourceMemoryLimit"]) == (memory, memory)


@pytest.mark.parametrize(
    ("name", "size"),
    [("ingest", "1Gi"), ("preprocess", "4Gi"), ("extract-features", "8Gi"), ("fine-tune", "8Gi"), ("evaluate", "8Gi")],
)
def test_shared_memory_is_memory(tasks: dict[str, Task], name: str, size: str) -> None:
    mount = tasks[name].empty_dirs["/dev/shm"]
    assert (mount["medium"], mount["sizeLimit"]) == ("Memory", size)


@pytest.mark.parametrize("name", TASKS)
def test_home_and_caches_lie_in_an_empty_dir(tasks: dict[str, Task], name: str) -> None:
    assert {variable: tasks[name].environment[variable] for variable in ("HOME", "KERAS_HOME")} == {
        "HOME": "/tmp",
        "KERAS_HOME": "/tmp/keras",
    }
    assert tasks[name].environment["MPLCONFIGDIR"] == "/tmp/matplotlib"
    assert tasks[name].environment["XDG_CACHE_HOME"] == "/tmp/cache"
    assert "medium" not in tasks[name].empty_dirs["/tmp"]  # on disk: a cache must not eat the task's memory


@pytest.mark.parametrize("name", TASKS)
def test_no_task_runs_as_root(tasks: dict[str, Task], name: str) -> None:
    assert tasks[name].pod["securityContext"] == {"runAsUser": "1000", "runAsGroup": "1000", "runAsNonRoot": True}


def test_time_outs_in_seconds(tasks: dict[str, Task]) -> None:
    assert {name: task.pod["activeDeadlineSeconds"] for name, task in tasks.items()} == {
        "ingest": "21600",
        "preprocess": "43200",
        "extract-features": "86400",
        "fine-tune": "259200",
        "evaluate": "43200",
        "publish": "3600",
    }


@pytest.mark.parametrize("name", TASKS)
def test_retries(tasks: dict[str, Task], name: str) -> None:
    assert tasks[name].dag["retryPolicy"] == {
        "maxRetryCount": 2,
        "backoffDuration": "60s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "600s",
    }


def test_what_reads_or_writes_the_world_is_never_cached(tasks: dict[str, Task]) -> None:
    assert {name: task.dag["cachingOptions"].get("enableCache", False) for name, task in tasks.items()} == {
        "ingest": False,
        "preprocess": True,
        "extract-features": True,
        "fine-tune": True,
        "evaluate": True,
        "publish": False,
    }


@pytest.mark.parametrize("name", TASKS)
def test_a_container_installs_nothing(tasks: dict[str, Task], name: str) -> None:
    shell, option, script, source = tasks[name].container["command"]
    assert (shell, option) == ("sh", "-ec")
    assert "kfp.dsl.executor_main" in script
    assert "pip" not in script
    assert "subprocess" not in source


@pytest.mark.parametrize("name", ["evaluate", "publish"])
def test_the_run_is_known_by_its_id(tasks: dict[str, Task], name: str) -> None:
    run_id = tasks[name].dag["inputs"]["parameters"]["run_id"]
    assert run_id == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
