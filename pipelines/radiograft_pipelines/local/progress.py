"""Displays a local run: one line per task with its duration, below the task's messages. A file gets the full log."""

from __future__ import annotations

import builtins
import contextlib
import datetime
import io
import logging
import re
import secrets
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import IO

from rich.console import Console
from rich.markup import escape
from rich.status import Status

LOG = "run.log"  # in the folder of a run
COLOR_CODES = re.compile(r"\x1b\[[0-9;]*m")
TASK_STARTED = re.compile(r"Executing task '([^']+)'")
MESSAGE = re.compile(r"radiograft (\w+) \| (.*)")
TASK_ENDED = re.compile(r"Task '([^']+)' finished with status (\w+)")
ERROR = re.compile(r"(?<=\n)\S.*", re.DOTALL)  # follows the header and the indented frames of a traceback


class RunFailedError(RuntimeError):
    """A task failed. The message is its error and the path of the log."""


def unique_run_id() -> str:
    """Returns an ID of the current time in UTC with 8 random digits, such as `20261129-024714-6b13c2b2`."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def show_progress(progress: Progress) -> Iterator[None]:
    """Sends everything that kfp.local prints and logs to `progress`.

    kfp.local replaces and restores `print` and the handlers of the root logger in each of its threads. With two tasks
    at once, a thread may restore the replacement of another one. The root logger therefore writes to `progress` from
    the start, and both are restored at the end.
    """
    root, original_print = logging.getLogger(), builtins.print
    level, handlers = root.level, root.handlers[:]
    root.setLevel(logging.INFO)
    root.handlers[:] = [logging.StreamHandler(progress)]
    try:
        with contextlib.redirect_stdout(progress):
            yield
    finally:
        root.setLevel(level)
        root.handlers[:], builtins.print = handlers, original_print


class _ThreadOutput(threading.local):
    """The output of one of kfp.local's threads, each of which runs one task at a time."""

    pending = ""  # an incomplete line
    task = ""
    output = ""
    started = 0.0


class Progress(io.TextIOBase):
    """A stdout for kfp.local that parses its lines and those of the tasks.

    Attributes:
        seconds: Duration of each stage; the sum over all tasks of a loop.
        failed: Name of the first task that failed.
    """

    def __init__(self, console: Console, log: IO[str]) -> None:
        self.console, self.log = console, log
        self.seconds: dict[str, float] = {}
        self.failed: str | None = None
        self._failure = ""
        self._thread, self._lock, self._running = _ThreadOutput(), threading.Lock(), 0
        self._status = Status("", console=console)

    def write(self, text: str) -> int:
        """Writes text like a file. Safe to call from several threads."""
        with self._lock:
            self.log.write(text)
            *lines, self._thread.pending = (self._thread.pending + text).split("\n")
            for line in lines:
                self._parse(COLOR_CODES.sub("", line))
        return len(text)

    def failure(self) -> str:
        """Returns the error of the first failed task, or else of the task that runs in this thread.

        The error is the message below the last traceback, or the end of the output if there is no traceback.
        """
        return self._failure or _last_error(self._thread.output)

    def _parse(self, line: str) -> None:
        if started := TASK_STARTED.search(line):
            self._begin(started[1])
        elif ended := TASK_ENDED.search(line):
            self._end(ended[1], ended[2])
        elif self._thread.task:
            self._thread.output += line + "\n"
            self._show(line)

    def _begin(self, task: str) -> None:
        self._thread.task, self._thread.output, self._thread.started = task, "", time.monotonic()
        self._running += 1
        self._status.update(f"[bold]{task}")
        self._status.start()

    def _end(self, task: str, status: str) -> None:
        seconds, succeeded, stage = time.monotonic() - self._thread.started, status == "SUCCESS", task.replace("-", "_")
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + seconds, 1)
        self._thread.task = ""  # the following lines are kfp.local's own
        self._running -= 1
        if not self._running:
            self._status.stop()
        if not succeeded and not self.failed:
            self.failed, self._failure = task, _last_error(self._thread.output)
        mark = "[green]✓[/]" if succeeded else "[red]✗[/]"
        self.console.print(f"{mark} [bold]{task}[/]  {seconds:.1f} s")

    def _show(self, line: str) -> None:
        message = MESSAGE.search(line)
        if message and message[1] == "DEBUG":
            self._status.update(f"[bold]{self._thread.task}[/] {escape(message[2])}")
        elif message:
            self.console.print(f"  {escape(message[2])}", style="dim", highlight=False)


def _last_error(output: str) -> str:
    """Returns the error below the last traceback without kfp.local's indentation, or the end of the output."""
    start = output.rfind("Traceback (most recent call last)")
    if start < 0:
        return textwrap.dedent(output)[-2000:].strip()
    traceback = textwrap.dedent(output[output.rfind("\n", 0, start) + 1 :]).strip()
    error = ERROR.search(traceback)
    return error[0] if error else traceback
