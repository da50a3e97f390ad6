"""The packages that users upload: fresh, and asking the cluster for exactly what each task needs."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.pipelines.packages import COMPILED, OF_THE_SEARCH, PACKAGES, ROOT, STAGES_ON_GPUS, TASKS, tasks

every_package = pytest.mark.parametrize("package", PACKAGES)
every_stage_on_gpus = pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package in PACKAGES for name in STAGES_ON_GPUS]
)
every_task = pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package, names in TASKS.items() for name in names]
)


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
    names = [f"{package}.yaml" for package in sorted(PACKAGES)]
    assert names == sorted(path.name for path in COMPILED.iterdir()) == sorted(path.name for path in fresh.iterdir())
    changes = [
        line
        for name in names
        for line in difflib.unified_diff(
            (COMPILED / name).read_text().splitlines(),
            (fresh / name).read_text().splitlines(),
            f"committed {name}",
            "compiled now",
            lineterm="",
        )
    ]
    assert not changes, "a committed package is stale, run `make compile` and commit:\n" + "\n".join(changes[:60])


def test_the_image_is_named_when_compiling(compile_package: Callable[..., Path]) -> None:
    image = "registry.example/trainer@sha256:" + "0" * 64
    folder = compile_package(RADIOGRAFT_TRAINER_IMAGE=image)
    for package, count in (("transfer_learning", 6), ("cutoff_search", 8)):
        compiled = next(yaml.safe_load_all((folder / f"{package}.yaml").read_text()))
        images = [each["container"]["image"] for each in compiled["deploymentSpec"]["executors"].values()]
        assert images == [image] * count


@every_package
def test_every_task_is_known(package: str) -> None:
    assert sorted(tasks(package)) == sorted(TASKS[package])


@every_stage_on_gpus
def test_a_stage_asks_for_two_gpus_and_insists_on_them(package: str, name: str) -> None:
    task = tasks(package)[name]
    accelerator = task.container["resources"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", "2")
    assert task.environment["RADIOGRAFT_PROMISED_GPUS"] == "2"


@pytest.mark.parametrize(
    ("package", "name"),
    [("transfer_learning", "publish"), *(("cutoff_search", name) for name in ("publish", *OF_THE_SEARCH))],
)
def test_what_computes_little_needs_no_gpu(package: str, name: str) -> None:
    assert "accelerator" not in tasks(package)[name].container["resources"]
    assert "RADIOGRAFT_PROMISED_GPUS" not in tasks(package)[name].environment


@every_package
def test_requests_equal_limits(package: str) -> None:
    expected = {
        "ingest": ("4", "8Gi"),
        "preprocess": ("8", "16Gi"),
        "extract-features": ("8", "32Gi"),
        "fine-tune": ("8", "32Gi"),
        "evaluate": ("8", "16Gi"),
        "publish": ("1", "2Gi"),
        "list-cut-offs": ("2", "8Gi"),
        "choose-model": ("2", "8Gi"),
    }
    for name, task in tasks(package).items():
        resources = task.container["resources"]
        assert (resources["resourceCpuRequest"], resources["resourceMemoryRequest"]) == expected[name]
        assert (resources["resourceCpuLimit"], resources["resourceMemoryLimit"]) == expected[name]


@every_package
def test_shared_memory_is_memory(package: str) -> None:
    expected = {
        "ingest": "1Gi",
        "preprocess": "4Gi",
        "extract-features": "8Gi",
        "fine-tune": "8Gi",
        "evaluate": "8Gi",
    }
    for name, size in expected.items():
        mount = tasks(package)[name].empty_dirs["/dev/shm"]
        assert (mount["medium"], mount["sizeLimit"]) == ("Memory", size)


@every_task
def test_home_and_caches_lie_in_an_empty_dir(package: str, name: str) -> None:
    task = tasks(package)[name]
    assert {variable: task.environment[variable] for variable in ("HOME", "KERAS_HOME")} == {
        "HOME": "/tmp",
        "KERAS_HOME": "/tmp/keras",
    }
    assert task.environment["MPLCONFIGDIR"] == "/tmp/matplotlib"
    assert task.environment["XDG_CACHE_HOME"] == "/tmp/cache"
    assert "medium" not in task.empty_dirs["/tmp"]  # on disk: a cache must not eat the task's memory


@every_task
def test_no_task_runs_as_root(package: str, name: str) -> None:
    security = tasks(package)[name].pod["securityContext"]
    assert security == {"runAsUser": "1000", "runAsGroup": "1000", "runAsNonRoot": True}


@every_package
def test_time_outs_in_seconds(package: str) -> None:
    expected = {
        "ingest": "21600",
        "preprocess": "43200",
        "extract-features": "86400",
        "fine-tune": "259200",
        "evaluate": "43200",
        "publish": "3600",
        "list-cut-offs": "3600",
        "choose-model": "3600",
    }
    for name, task in tasks(package).items():
        assert task.pod["activeDeadlineSeconds"] == expected[name]


@every_task
def test_retries(package: str, name: str) -> None:
    assert tasks(package)[name].dag["retryPolicy"] == {
        "maxRetryCount": 2,
        "backoffDuration": "60s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "600s",
    }


@every_package
def test_what_reads_or_writes_the_world_is_never_cached(package: str) -> None:
    cached = {name: task.dag["cachingOptions"].get("enableCache", False) for name, task in tasks(package).items()}
    assert cached == {name: name not in ("ingest", "publish") for name in TASKS[package]}


@every_task
def test_a_container_installs_nothing(package: str, name: str) -> None:
    shell, option, script, source = tasks(package)[name].container["command"]
    assert (shell, option) == ("sh", "-ec")
    assert "kfp.dsl.executor_main" in script
    assert "pip" not in script
    assert "subprocess" not in source


@every_package
@pytest.mark.parametrize("name", ["extract-features", "fine-tune"])
def test_every_attempt_of_a_training_finds_the_same_checkpoints(package: str, name: str) -> None:
    given = tasks(package)[name].dag["inputs"]["parameters"]
    assert given["checkpoint_root"]["componentInputParameter"].endswith("publish_registry")
    assert given["run_id"] == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
    if (package, name) == ("cutoff_search", "fine-tune"):  # each candidate's own, though all have one task's name
        assert given["task_name"] == {"componentInputParameter": "pipelinechannel--list-cut-offs-Output-loop-item"}
    else:
        assert given["task_name"] == {"runtimeValue": {"constant": "{{$.pipeline_task_name}}"}}


@every_package
@pytest.mark.parametrize("name", ["evaluate", "publish"])
def test_the_run_is_known_by_its_id(package: str, name: str) -> None:
    run_id = tasks(package)[name].dag["inputs"]["parameters"]["run_id"]
    assert run_id == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
