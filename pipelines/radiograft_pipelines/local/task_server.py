"""Starts the tasks of a local run by forking a process that has imported what they need.

Importing TensorFlow, Keras, pandas and scikit-learn takes seven seconds of CPU time, which a process of its own would
spend in each task. Forking is safe because the server only imports: TensorFlow starts its threads when something is
computed, and NumPy's and Arrow's threads survive a fork.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from radiograft.utils.processes import end_with_parent
from radiograft_pipelines.local.object_store import environment
from radiograft_pipelines.local.task_client import ADDRESS_VARIABLE

FIRST_MODULES = ("kfp.dsl.executor_main", "radiograft.stages.ingest.task")  # imported before the first task starts
MODULES = (  # imported PAUSE seconds later, or before the second task
    "radiograft.stages.preprocess.task",
    "radiograft.stages.preprocess.merge",
    "radiograft.stages.extract_features.task",
    "radiograft.stages.fine_tune.task",
    "radiograft.stages.select_model.task",
    "radiograft.stages.evaluate.task",
    "radiograft.stages.publish.task",
    "radiograft.stages.super_resolution.task",
)
PAUSE = 5.0  # seconds in which ingest rejects most invalid settings and data, and so ends the run
MAX_ADDRESS = 107  # bytes in the path of a Unix socket, see unix(7)


@contextlib.contextmanager
def task_server(log: IO[str]) -> Iterator[None]:
    """Runs a server for the tasks of `task_client` while the context lasts.

    Tasks start as separate processes outside Linux, where a forked process cannot use every library, and if the
    temporary folder has a path that is too long for a socket.

    Args:
        log: file for the messages of libraries that the server imports.
    """
    with tempfile.TemporaryDirectory(prefix="tasks-") as folder:
        address = str(Path(folder) / "socket")
        if sys.platform != "linux" or len(os.fsencode(address)) > MAX_ADDRESS:
            yield
        else:
            yield from _serve(address, log)


def _serve(address: str, log: IO[str]) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, "-m", __name__, str(listener.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
            preexec_fn=end_with_parent,
        )
    try:
        with environment(ADDRESS_VARIABLE, address):
            yield
    finally:
        server.kill()
        server.wait()


def main(listener: socket.socket) -> None:
    """Forks a process for each task that a client sends, until this process is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tasks, and the run ends this process
    signal.signal(signal.SIGCHLD, _reap)
    _import(FIRST_MODULES)
    _fork_task(listener)
    select.select([listener], [], [], PAUSE)
    _import(MODULES)
    while True:
        _fork_task(listener)


def _reap(*_: object) -> None:
    """Removes ended tasks, so that their CPU time counts as the run's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _import(modules: tuple[str, ...]) -> None:
    """Imports modules. A task that needs one repeats the import, and so reports its error."""
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    gc.freeze()  # else collecting garbage copies the memory that the tasks share


def _fork_task(listener: socket.socket) -> None:
    """Waits for a client and forks a process for its task."""
    connection, _ = listener.accept()
    server = os.getpid()
    if os.fork() == 0:
        listener.close()
        _run_task(connection, server)
    connection.close()


def _run_task(connection: socket.socket, server: int) -> None:
    """Becomes the task's process: takes the client's arguments, environment and output, and sends it the exit status.

    Raises:
        SystemExit: the task has ended.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end_with_parent()
    if os.getppid() != server:  # which has ended before
        os._exit(1)
    arguments, variables = _receive(connection)
    os.environ.clear()
    os.environ.update(variables)
    status = _execute(arguments)
    connection.sendall(bytes([status]))
    sys.exit(status)


def _receive(connection: socket.socket) -> tuple[list[str], dict[str, str]]:
    first, files, _, _ = socket.recv_fds(connection, 1, maxfds=2)
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
        os.close(file)
    with connection.makefile("rb") as request:
        arguments, variables = json.loads(first + request.readline())
    return arguments, variables


def _execute(arguments: list[str]) -> int:
    """Runs KFP's executor as `python -m` does, and returns the exit status."""
    sys.argv = arguments
    try:
        importlib.import_module("kfp.dsl.executor_main").executor_main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
