"""Compiled packages: up to date, and adapted to image and cluster."""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from click.testing import CliRunner

from radiograft_pipelines.compile import main
from tests.helpers.packages import (
    COMPILED,
    OF_SUPER_RESOLUTION,
    OF_THE_COMPARISON,
    OF_THE_SEARCH,
    OF_THE_TRIALS,
    ON_NONE,
    PACKAGES,
    STAGES_ON_GPUS,
    TASKS,
    tasks,
)
from tests.repository import ROOT

every_package = pytest.mark.parametrize("package", PACKAGES)
CLASSIFIER_PACKAGES = [package for package in PACKAGES if package != "super_resolution"]
every_stage_on_gpus = pytest.mark.parametrize(
    ("package", "name"),
    [
        (package, name)
        for package, names in TASKS.items()
        for name in names
        if name in (*STAGES_ON_GPUS, *OF_THE_TRIALS, *OF_SUPER_RESOLUTION)
    ],
)
every_task = pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package, names in TASKS.items() for name in names]
)


class Compiled(NamedTuple):
    """The folder of the packages, and the warnings on stderr."""

    folder: Path
    warnings: str


@pytest.fixture(scope="module")
def compile_package(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Compiled]:
    """Compiles as `make compile` does, with `variables` in an environment without RADIOGRAFT_TRAINER_IMAGE."""

    def compile_to_folder(*options: str, **variables: str) -> Compiled:
        folder = tmp_path_factory.mktemp("compiled")
        environment = {k: v for k, v in os.environ.items() if k != "RADIOGRAFT_TRAINER_IMAGE"} | variables
        command = [sys.executable, "-m", "radiograft_pipelines.compile", str(folder), *options]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        return Compiled(folder, done.stderr)

    return compile_to_folder


def test_committed_packages_are_up_to_date(compile_package: Callable[..., Compiled]) -> None:
    fresh, warnings = compile_package()
    assert "radiograft/trainer:0.1.0 is named by a tag, which can be moved to another image" in warnings
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


def test_compile_applies_image_and_cluster_profile(compile_package: Callable[..., Compiled], tmp_path: Path) -> None:
    image = "registry.example/trainer@sha256:" + "0" * 64
    (tmp_path / "cluster.yaml").write_text("image_pull_policy: Always\n")
    folder, warnings = compile_package("--cluster", str(tmp_path / "cluster.yaml"), RADIOGRAFT_TRAINER_IMAGE=image)
    assert "named by a tag" not in warnings
    for package in PACKAGES:
        count = len(TASKS[package])
        compiled, platform = yaml.safe_load_all((folder / f"{package}.yaml").read_text())
        executors = compiled["deploymentSpec"]["executors"]
        images = [executor["container"]["image"] for executor in executors.values()]
        assert images == [image] * count
        pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
        assert [pod["imagePullPolicy"] for pod in pods] == ["Always"] * count
        (publish,) = (executor for name, executor in executors.items() if "publish" in name)
        assert {"name": "RADIOGRAFT_RUNNING_IMAGE", "value": image} in publish["container"]["env"]


@every_package
def test_packages_have_expected_tasks(package: str) -> None:
    assert sorted(tasks(package)) == sorted(TASKS[package])


@every_stage_on_gpus
def test_gpu_stages_require_two_gpus(package: str, name: str) -> None:
    assert tasks(package)[name].environment["RADIOGRAFT_PROMISED_GPUS"] == "2"


@pytest.mark.parametrize(
    ("package", "name"),
    [
        *((package, name) for package in ("transfer_learning", "retraining") for name in ON_NONE),
        *(("cutoff_search", name) for name in (*ON_NONE, *OF_THE_SEARCH)),
        *(("backbone_comparison", name) for name in (*ON_NONE, *OF_THE_COMPARISON)),
        *(("hyperparameter_search", name) for name in (*ON_NONE, "list-search-workers")),
        *(("super_resolution", name) for name in ("list-workers", "collect-shards", "publish-super-resolution")),
    ],
)
def test_light_tasks_require_no_gpu(package: str, name: str) -> None:
    assert "RADIOGRAFT_PROMISED_GPUS" not in tasks(package)[name].environment


@every_task
def test_home_and_caches_are_in_empty_dir(package: str, name: str) -> None:
    task = tasks(package)[name]
    assert {variable: task.environment[variable] for variable in ("HOME", "KERAS_HOME")} == {
        "HOME": "/tmp",
        "KERAS_HOME": "/tmp/keras",
    }
    assert task.environment["MPLCONFIGDIR"] == "/tmp/matplotlib"
    assert task.environment["XDG_CACHE_HOME"] == "/tmp/cache"
    assert "medium" not in task.empty_dirs["/tmp"]  # on disk, so that caches do not count as memory


@every_task
def test_tasks_retry_with_backoff(package: str, name: str) -> None:
    assert tasks(package)[name].dag["retryPolicy"] == {
        "maxRetryCount": 2,
        "backoffDuration": "60s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "600s",
    }


@every_package
def test_tasks_with_external_state_are_not_cached(package: str) -> None:
    cached = {name: task.dag["cachingOptions"].get("enableCache", False) for name, task in tasks(package).items()}
    external = ("ingest", "evaluate", "publish", "publish-super-resolution")
    assert cached == {name: name not in external for name in TASKS[package]}


@every_task
def test_container_installs_nothing(package: str, name: str) -> None:
    shell, option, script, source = tasks(package)[name].container["command"]
    assert (shell, option) == ("sh", "-ec")
    assert "kfp.dsl.executor_main" in script
    assert "pip" not in script
    assert "subprocess" not in source


@pytest.mark.parametrize("package", CLASSIFIER_PACKAGES)
@pytest.mark.parametrize("name", ["extract-features", "fine-tune"])
def test_training_tasks_have_stable_checkpoint_arguments(package: str, name: str) -> None:
    inputs = tasks(package)[name].dag["inputs"]["parameters"]
    registry = {"taskOutputParameter": {"outputParameterKey": "registry", "producerTask": "ingest"}}
    if package == "transfer_learning":
        assert inputs["checkpoint_root"] == registry
    assert inputs["run_id"] == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
    lists = {("cutoff_search", "fine-tune"): "list-cut-offs", ("backbone_comparison", name): "list-backbones"}
    if listed := lists.get((package, name)):  # per trial, because all tasks of a loop have the same name
        assert inputs["task_name"] == {"componentInputParameter": f"pipelinechannel--{listed}-Output-loop-item"}
    else:
        assert inputs["task_name"] == {"runtimeValue": {"constant": "{{$.pipeline_task_name}}"}}


@pytest.mark.parametrize("package", CLASSIFIER_PACKAGES)
@pytest.mark.parametrize("name", ["evaluate", "publish"])
def test_run_id_is_kfp_job_id(package: str, name: str) -> None:
    run_id = tasks(package)[name].dag["inputs"]["parameters"]["run_id"]
    assert run_id == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}


def test_compile_invalid_cluster_file_writes_nothing(tmp_path: Path) -> None:
    """Fails if packages are written before the cluster profile is applied: they would have the wrong pods."""
    (tmp_path / "cluster.yaml").write_text("tolerations: [{key: spot, operater: Exists}]\n")
    arguments = [str(tmp_path / "compiled"), "--cluster", str(tmp_path / "cluster.yaml")]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 1
    assert "Error: KFP does not support this pod configuration: " in result.output
    assert not (tmp_path / "compiled").exists()
