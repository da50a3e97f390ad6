"""Shows a local run: a line a stage with its time, the stage's own messages below, everything in a log file."""

from __future__ import annotations

import io
import re
import time
from typing import IO

from rich.console import Console
from rich.markup import escape
from rich.status import Status

COLOUR_CODES = re.compile(r"\x1b\[[0-9;]*m")
STARTED = re.compile(r"Executing task '([^']+)'")
MESSAGE = re.compile(r"radiograft (\w+) \| (.*)")
ENDED = re.compile(r"Task '([^']+)' finished with status (\w+)")


class Progress(io.TextIOBase):
    """Stands in for stdout while kfp.local runs: reads its lines and those that it relays from the tasks."""

    def __init__(self, console: Console, log: IO[str]) -> None:
        self.console, self.log = console, log
        self.seconds: dict[str, float] = {}
        self.failed: str | None = None
        self._pending, self._output, self._task = "", "", ""
        self._started = 0.0
        self._status = Status("", console=console)

    def write(self, text: str) -> int:
        """Takes text as a file would."""
        self.log.write(text)
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._read(COLOUR_CODES.sub("", line))
        return len(text)

    def traceback(self) -> str:
        """The last traceback that the current task printed, or the last of what it said."""
        output = re.sub(r"(?m)^    ", "", self._output)
        start = output.rfind("Traceback (most recent call last)")
        return output[start:].strip() if start >= 0 else output[-2000:].strip()

    def _read(self, line: str) -> None:
        if started := STARTED.search(line):
            self._output, self._started = "", time.monotonic()
            self._task = started[1]
            self._status.update(f"[bold]{self._task}")
            self._status.start()
        elif ended := ENDED.search(line):
            self._end(ended[1], ended[2])
        elif self._task:
            self._output += line + "\n"
            self._show(line)

    def _end(self, task: str, status: str) -> None:
        self._status.stop()
        self._task = ""  # what kfp.local adds is not the task's
        self.seconds[task.replace("-", "_")] = round(time.monotonic() - self._started, 1)
        good = status == "SUCCESS"
        self.failed = None if good else task
        mark = "[green]✓[/]" if good else "[red]✗[/]"
        self.console.print(f"{mark} [bold]{task}[/]  {self.seconds[task.replace('-', '_')]} s")

    def _show(self, line: str) -> None:
        found = MESSAGE.search(line)
        if found and found[1] == "DEBUG":
            self._status.update(f"[bold]{self._task}[/] {escape(found[2])}")
        elif found:
            self.console.print(f"  {escape(found[2])}", style="dim", highlight=False)
