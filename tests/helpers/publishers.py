"""Publishers in separate processes, concurrent or killed with SIGKILL. This process forks and must have no threads.

`python -m tests.helpers.publishers at-once REGISTRY COUNT` publishes model `chest` from COUNT concurrent runs and
prints the outcome of each as a line of JSON. `... killed REGISTRY` publishes the models `killed-0`, `killed-1` and so
on, each killed one write later than the previous one, until one survives, and prints the number of killed publishers.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.cloud import storage as cloud

from radiograft.config import Publish
from radiograft.stages.publish import task
from tests.helpers.publish_inputs import write_inputs

# Every change that other processes can see is one of these calls.
WRITES = ((os, "link"), (Path, "replace"), (Path, "rename"), (cloud.Blob, "upload_from_string"))


def publish(place: str, model: str, run_id: str) -> dict[str, Any]:
    """Publishes a run whose model.keras contains its id and which passed the gate without a production version."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_inputs(Path(folder), model=run_id)
        settings = Publish(publish_registry=place, publish_model_name=model)
        return task.run(settings, inputs, run_id, Path(folder) / "version")._asdict()


def die_before_write(number: int) -> None:
    """Kills this process before write `number`, counted from 0."""
    count = itertools.count()

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def write_or_die(*args: Any, **kwargs: Any) -> Any:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*args, **kwargs)

        return write_or_die

    for owner, name in WRITES:
        setattr(owner, name, counted(getattr(owner, name)))


def in_child(work: Callable[[], object]) -> int:
    """Runs a function in a forked process and returns the process id."""
    child = os.fork()
    if child:
        return child
    try:
        os.write(sys.stdout.fileno(), f"{json.dumps(work())}\n".encode())  # a single write, so that lines do not mix
        os._exit(0)
    finally:
        os._exit(1)


def at_once(place: str, count: int) -> None:
    """Starts all publishers, then lets them publish at the same time."""
    ready, go = os.pipe()

    def wait_and_publish(run_id: str) -> dict[str, Any]:
        os.close(go)
        os.read(ready, 1)  # returns when the last copy of `go` is closed
        return publish(place, "chest", run_id) | {"run_id": run_id}

    children = [in_child(lambda run_id=f"run-{number}": wait_and_publish(run_id)) for number in range(count)]
    os.close(go)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * count


def killed(place: str) -> None:
    """Kills one publisher before each of its writes."""
    for number in itertools.count():

        def publish_and_die(number: int = number) -> dict[str, Any]:
            die_before_write(number)
            return publish(place, f"killed-{number}", "run-1")

        status = os.waitpid(in_child(publish_and_die), 0)[1]
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            print(number)
            return
        assert os.WTERMSIG(status) == signal.SIGKILL


if __name__ == "__main__":
    if sys.argv[1] == "at-once":
        at_once(sys.argv[2], int(sys.argv[3]))
    else:
        killed(sys.argv[2])
