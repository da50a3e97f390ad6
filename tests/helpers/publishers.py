"""Publishers in processes of their own, several at once or killed with SIGKILL; run in a process that has no threads.

`python -m tests.helpers.publishers at-once REGISTRY COUNT` has COUNT runs publish model `chest` at the same
time and prints each one's outcome as a line of JSON. `... killed REGISTRY` has a run publish model `killed-0`, another
one `killed-1` and so on, each killed just before a later write, until one survives; it prints how many were killed.
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

# Every change that others can see is one of these calls.
WRITES = ((os, "link"), (Path, "replace"), (Path, "rename"), (cloud.Blob, "upload_from_string"))


def publish(place: str, model: str, run_id: str) -> dict[str, Any]:
    """A run whose model.keras holds its id and which passed the gate while nothing was in production."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_inputs(Path(folder), model=run_id)
        settings = Publish(publish_registry=place, publish_model_name=model)
        return task.run(settings, inputs, run_id, Path(folder) / "version")._asdict()


def die_before_write(number: int) -> None:
    """Has this process killed instead of making its numbered write, counted from 0."""
    count = itertools.count()

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def write_or_die(*arguments: Any, **named: Any) -> Any:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*arguments, **named)

        return write_or_die

    for owner, name in WRITES:
        setattr(owner, name, counted(getattr(owner, name)))


def in_child(work: Callable[[], object]) -> int:
    """Runs something in a forked process and returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        os.write(sys.stdout.fileno(), f"{json.dumps(work())}\n".encode())  # in one go, beside those of others
        os._exit(0)
    finally:
        os._exit(1)


def at_once(place: str, count: int) -> None:
    """Starts all publishers, then lets them go together."""
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
