"""Shows a local run: a line a task with its time, the task's own messages above, everything in a log file."""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import re
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import IO

from rich.console import Console
from rich.markup import escape
from rich.status import Status

COLOR_CODES = re.compile(r"\x1b\[[0-9;]*m")
STARTED = re.compile(r"Executing task '([^']+)'")
MESSAGE = re.compile(r"radiograft (\w+) \| (.*)")
ENDED = re.compile(r"Task '([^']+)' finished with status (\w+)")
ERROR = re.compile(r"(?<=\n)\S.*", re.DOTALL)  # below a traceback's head and its indented frames


@contextlib.contextmanager
def show_progress(progress: Progress) -> Iterator[None]:
    """Lets the display read all that kfp.local prints and logs.

    Where two tasks run at once, each of kfp.local's threads puts `print` and the root logger back to what it found,
    which may be another thread's: so the logger goes to the display from the start, and both are put right at the end.
    """
    root, plain_print = logging.getLogger(), builtins.print
    level, handlers = root.level, root.handlers[:]
    root.setLevel(logging.INFO)
    root.handlers[:] = [logging.StreamHandler(progress)]
    try:
        with contextlib.redirect_stdout(progress):
            yield
    finally:
        root.setLevel(level)
        root.handlers[:], builtins.print = handlers, plain_print


class _Thread(threading.local):
    """What kfp.local says in one of its threads, each of which runs one task at a time."""

    pending = ""  # a line without its end
    task = ""
    output = ""
    started = 0.0


class Progress(io.TextIOBase):
    """Stands in for stdout while kfp.local runs: reads its lines and those that it relays from the tasks.

    Attributes:
        seconds: of each stage; those of a loop's tasks together.
        failed: the first task that failed.
    """

    def __init__(self, console: Console, log: IO[str]) -> None:
        self.console, self.log = console, log
        self.seconds: dict[str, float] = {}
        self.failed: str | None = None
        self._failure = ""
        self._here, self._lock, self._running = _Thread(), threading.Lock(), 0
        self._status = Status("", console=console)

    def write(self, text: str) -> int:
        """Takes text as a file would, from several threads."""
        with self._lock:
            self.log.write(text)
            *lines, self._here.pending = (self._here.pending + text).split("\n")
            for line in lines:
                self._read(COLOR_CODES.sub("", line))
        return len(text)

    def failure(self) -> str:
        """The error that ends the last traceback of the first failed task, or the last of what it said; without one,
        the same of the task that runs in this thread. The traceback itself is for the log."""
        return self._failure or _last_words(self._here.output)

    def _read(self, line: str) -> None:
        if started := STARTED.search(line):
            self._begin(started[1])
        elif ended := ENDED.search(line):
            self._end(ended[1], ended[2])
        elif self._here.task:
            self._here.output += line + "\n"
            self._show(line)

    def _begin(self, task: str) -> None:
        self._here.task, self._here.output, self._here.started = task, "", time.monotonic()
        self._running += 1
        self._status.update(f"[bold]{task}")
        self._status.start()

    def _end(self, task: str, status: str) -> None:
        took, good, stage = time.monotonic() - self._here.started, status == "SUCCESS", task.replace("-", "_")
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + took, 1)
        self._here.task = ""  # what kfp.local adds is not the task's
        self._running -= 1
        if not self._running:
            self._status.stop()
        if not good and not self.failed:
            self.failed, self._failure = task, _last_words(self._here.output)
        mark = "[green]✓[/]" if good else "[red]✗[/]"
        self.console.print(f"{mark} [bold]{task}[/]  {took:.1f} s")

    def _show(self, line: str) -> None:
        found = MESSAGE.search(line)
        if found and found[1] == "DEBUG":
            self._status.update(f"[bold]{self._here.task}[/] {escape(found[2])}")
        elif found:
            self.console.print(f"  {escape(found[2])}", style="dim", highlight=False)


def _last_words(output: str) -> str:
    """The error below the last traceback, without the indentation that kfp.local gives it; else the end."""
    start = output.rfind("Traceback (most recent call last)")
    if start < 0:
        return textwrap.dedent(output)[-2000:].strip()
    traceback = textwrap.dedent(output[output.rfind("\n", 0, start) + 1 :]).strip()
    error = ERROR.search(traceback)
    return error[0] if error else traceback
