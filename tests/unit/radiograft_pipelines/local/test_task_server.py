"""The tasks of a local run are forked from a server, and behave like processes that KFP's executor starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from radiograft_pipelines.local.task_client import ADDRESS_VARIABLE
from radiograft_pipelines.local.task_server import FIRST_MODULES, MODULES, task_server
from tests.repository import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tasks are forked on Linux only")
COMPONENT = """\
import os, signal, sys, time

def report(text: str) -> str:
    print("arguments", len(sys.argv), "variable", os.environ["A_VARIABLE"])
    print("parent", os.getppid(), "imported", "radiograft.stages.ingest.task" in sys.modules)
    print("a warning", file=sys.stderr)
    return text.upper()

def use_tensorflow(text: str) -> str:
    print("imported", "tensorflow" in sys.modules)
    from tensorflow.python.eager import context
    print("started", context.context_safe() is not None)
    import tensorflow as tf
    print("sum", int(tf.reduce_sum(tf.range(5))))
    return text

def fail(text: str) -> str:
    raise ValueError(f"text must be short, got {text}")

def die(text: str) -> str:
    os.kill(os.getpid(), signal.SIGKILL)

def wait(text: str) -> str:
    print("pid", os.getpid(), flush=True)
    time.sleep(600)
"""
SERVE = """\
import sys, time
from radiograft_pipelines.local.task_server import task_server
with task_server(open(sys.argv[1], "a")):
    import os
    print(os.environ["RADIOGRAFT_TASK_SERVER"], flush=True)
    time.sleep(600)
"""


class Task(NamedTuple):
    """The result of a task."""

    status: int
    printed: str
    output: str


def command(folder: Path, function: str) -> list[str]:
    """Returns the command that kfp.local starts for a function of COMPONENT."""
    (folder / "component.py").write_text(COMPONENT)
    outputs = {"parameters": {"Output": {"outputFile": str(folder / "out")}}, "outputFile": str(folder / "result.json")}
    executor_input = json.dumps({"inputs": {"parameterValues": {"text": "some text"}}, "outputs": outputs})
    client = [sys.executable, "-m", "radiograft_pipelines.local.task_client", "kfp.dsl.executor_main"]
    component = ["--component_module_path", str(folder / "component.py"), "--function_to_execute", function]
    return [*client, *component, "--executor_input", executor_input]


def run(folder: Path, function: str, **variables: str) -> Task:
    done = subprocess.run(
        command(folder, function),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env=os.environ | {"A_VARIABLE": "its value"} | variables,
    )  # fmt: skip
    result = folder / "result.json"
    output = json.loads(result.read_text())["parameterValues"]["Output"] if result.exists() else ""
    return Task(done.returncode, done.stdout, output)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with (tmp_path_factory.mktemp("server") / "log").open("a") as log, task_server(log):
        yield


@pytest.mark.usefixtures("server")
def test_task_has_arguments_environment_and_output_of_its_client(tmp_path: Path) -> None:
    task = run(tmp_path, "report")
    assert (task.status, task.output) == (0, "SOME TEXT"), task.printed
    assert "arguments 7 variable its value\n" in task.printed
    assert "imported True\n" in task.printed
    assert "a warning\n" in task.printed


@pytest.mark.usefixtures("server")
def test_later_task_uses_tensorflow_that_is_imported_but_not_started(tmp_path: Path) -> None:
    """Fails if importing a stage computes something: TensorFlow's threads would not exist in the tasks."""
    assert run(tmp_path, "report").status == 0
    task = run(tmp_path, "use_tensorflow")
    assert task.status == 0, task.printed
    assert "imported True\nstarted False\nsum 10\n" in task.printed


@pytest.mark.usefixtures("server")
def test_failing_task_has_status_1_and_prints_its_traceback(tmp_path: Path) -> None:
    task = run(tmp_path, "fail")
    assert task.status == 1
    assert "Traceback (most recent call last)" in task.printed
    assert task.printed.rstrip().endswith("ValueError: text must be short, got some text")


@pytest.mark.usefixtures("server")
def test_killed_task_has_status_1_and_the_next_one_runs(tmp_path: Path) -> None:
    assert run(tmp_path, "die").status == 1
    assert run(tmp_path, "report").status == 0


@pytest.mark.parametrize("address", ["", "/no/such/socket"])
def test_task_without_server_runs_in_its_own_process(tmp_path: Path, address: str) -> None:
    """Fails if a run on macOS, or after the server was killed, cannot start tasks."""
    task = run(tmp_path, "report", **{ADDRESS_VARIABLE: address})
    assert (task.status, task.output) == (0, "SOME TEXT"), task.printed
    assert f"parent {os.getpid()} imported False" in task.printed


def test_task_ends_when_its_run_is_killed(tmp_path: Path) -> None:
    """Fails if only the server ends with the run: the task would write into the resumed run."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    variables = os.environ | {ADDRESS_VARIABLE: address}
    client = subprocess.Popen(command(tmp_path, "wait"), stdout=subprocess.PIPE, text=True, env=variables)
    assert client.stdout is not None
    pid = next(int(line.split()[1]) for line in client.stdout if line.startswith("pid "))
    server.send_signal(signal.SIGKILL)
    assert client.wait(timeout=60) == 1
    while Path(f"/proc/{pid}").exists():  # until it is removed
        time.sleep(0.01)
    server.wait()


def test_modules_of_server_include_every_stage() -> None:
    stages = {path.parent.name for path in (ROOT / "components/radiograft/stages").glob("*/component.py")}
    assert {name.split(".")[2] for name in (*FIRST_MODULES, *MODULES) if name.startswith("radiograft.")} == stages
