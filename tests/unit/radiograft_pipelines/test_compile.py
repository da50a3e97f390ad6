"""The packages that users upload: fresh, and for the image and cluster that they were compiled for."""

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
from tests.helpers.packages import COMPILED, OF_THE_SEARCH, ON_NONE, PACKAGES, STAGES_ON_GPUS, TASKS, tasks
from tests.repository import ROOT

every_package = pytest.mark.parametrize("package", PACKAGES)
every_stage_on_gpus = pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package in PACKAGES for name in STAGES_ON_GPUS]
)
every_task = pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package, names in TASKS.items() for name in names]
)


class Compiled(NamedTuple):
    """Where the packages are, and what was said on the way."""

    folder: Path
    warnings: str


@pytest.fixture(scope="module")
def compile_package(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Compiled]:
    """Compiles as `make compile` does, with variables added to an environment that names no image."""

    def compile_to_folder(*options: str, **variables: str) -> Compiled:
        folder = tmp_path_factory.mktemp("compiled")
        environment = {k: v for k, v in os.environ.items() if k != "RADIOGRAFT_TRAINER_IMAGE"} | variables
        command = [sys.executable, "-m", "radiograft_pipelines.compile", str(folder), *options]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        return Compiled(folder, done.stderr)

    return compile_to_folder


def test_the_committed_packages_are_fresh(compile_package: Callable[..., Compiled]) -> None:
    fresh, warnings = compile_package()
    assert "radiograft/trainer:0.1.0 is named by a tag, behind which another image may come to stand" in warnings
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


def test_the_image_is_named_when_compiling_and_the_cluster(
    compile_package: Callable[..., Compiled], tmp_path: Path
) -> None:
    image = "registry.example/trainer@sha256:" + "0" * 64
    (tmp_path / "cluster.yaml").write_text("image_pull_policy: Always\n")
    folder, warnings = compile_package("--cluster", str(tmp_path / "cluster.yaml"), RADIOGRAFT_TRAINER_IMAGE=image)
    assert "named by a tag" not in warnings
    for package, count in (("transfer_learning", 8), ("cutoff_search", 10)):
        compiled, platform = yaml.safe_load_all((folder / f"{package}.yaml").read_text())
        images = [each["container"]["image"] for each in compiled["deploymentSpec"]["executors"].values()]
        assert images == [image] * count
        pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
        assert [pod["imagePullPolicy"] for pod in pods] == ["Always"] * count
        (publish,) = (each for name, each in compiled["deploymentSpec"]["executors"].items() if "publish" in name)
        assert {"name": "RADIOGRAFT_RUNNING_IMAGE", "value": image} in publish["container"]["env"]


@every_package
def test_every_task_is_known(package: str) -> None:
    assert sorted(tasks(package)) == sorted(TASKS[package])


@every_stage_on_gpus
def test_a_stage_insists_on_its_two_gpus(package: str, name: str) -> None:
    assert tasks(package)[name].environment["RADIOGRAFT_PROMISED_GPUS"] == "2"


@pytest.mark.parametrize(
    ("package", "name"),
    [
        *(("transfer_learning", name) for name in ON_NONE),
        *(("cutoff_search", name) for name in (*ON_NONE, *OF_THE_SEARCH)),
    ],
)
def test_what_computes_little_needs_no_gpu(package: str, name: str) -> None:
    assert "RADIOGRAFT_PROMISED_GPUS" not in tasks(package)[name].environment


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
    assert cached == {name: name not in ("ingest", "evaluate", "publish") for name in TASKS[package]}


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


def test_a_wrong_cluster_file_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    """Fails where packages are written before the file is read and they are fitted to it, or where it is not told in
    one line: a package with the pods of another cluster would be left behind."""
    (tmp_path / "cluster.yaml").write_text("tolerations: [{key: spot, operater: Exists}]\n")
    arguments = [str(tmp_path / "compiled"), "--cluster", str(tmp_path / "cluster.yaml")]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 1
    assert "Error: KFP cannot give this to a pod: " in result.output
    assert not (tmp_path / "compiled").exists()
