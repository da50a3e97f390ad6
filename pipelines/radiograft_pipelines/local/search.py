"""Runs a hyperparameter search on this machine: one process prepares the data, several workers run trials."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.markup import escape

from radiograft import storage
from radiograft.config.base import SETTINGS_FILE, Scalar, read_settings
from radiograft.registry.search_types import SearchResults
from radiograft_pipelines.local.object_store import embedded_store
from radiograft_pipelines.local.progress import LOG, MESSAGE, RunFailedError, unique_run_id

RESULTS = "search_results.json"  # written by the last step
PREPARED = "shards/shards.json"  # written by the first step
TAIL = 20  # lines of a failed process that the error shows


def new_search(values: Mapping[str, Scalar], out: Path) -> str:
    """Records the settings in a new run folder below `out`; returns the run's id."""
    run_id = unique_run_id()
    text = json.dumps(dict(sorted(values.items())), indent=2)
    storage.write_bytes(str(out / run_id / SETTINGS_FILE), text.encode())
    return run_id


def run_search(run_id: str, out: Path, console: Console) -> SearchResults:
    """Runs or resumes a search that `new_search` recorded, and returns its results.

    A search that was interrupted continues with the trials that were running, after their last finished epoch. A
    finished one is not run again.

    Args:
        run_id: name of the run's folder.
        out: folder of all runs.
        console: for the progress.

    Raises:
        FileNotFoundError: there is no such search.
        RunFailedError: a step failed; the message has the end of its output.
    """
    folder = (out / run_id).absolute()
    if not (folder / SETTINGS_FILE).is_file():
        raise FileNotFoundError(f"a search to resume must be a folder of {out} with {SETTINGS_FILE}, got {run_id!r}")
    console.print(f"search [bold]{folder.name}[/]", highlight=False)
    if not (folder / RESULTS).is_file():
        with embedded_store(out / "store"):
            _search(folder, console)
    results: SearchResults = json.loads((folder / RESULTS).read_text())
    return results


def _search(folder: Path, console: Console) -> None:
    workers = int(read_settings(folder)["search_workers"])
    if not (folder / PREPARED).is_file():
        for name in ("catalog", "shards"):
            shutil.rmtree(folder / name, ignore_errors=True)  # from an interrupted attempt
        _run_steps([["prepare"]], folder, console)
    _run_steps([["work", str(number)] for number in range(workers)], folder, console)
    _run_steps([["finish"]], folder, console)


def _run_steps(steps: Sequence[Sequence[str]], folder: Path, console: Console) -> None:
    """Runs processes at the same time and shows their messages.

    Raises:
        RunFailedError: a process failed, after the others have ended.
    """
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / LOG).open("a", buffering=1))
        processes = [_start(step, folder) for step in steps]
        for process in processes:
            stack.callback(_end, process)
        shown = [_Output(process, log, console) for process in processes]
        codes = [process.wait() for process in processes]
        for output in shown:
            output.thread.join()
    for code, output in zip(codes, shown, strict=True):
        if code:
            raise RunFailedError(f"{''.join(output.lines[-TAIL:]).strip()}\n\nfull log: {folder / LOG}")


def _start(step: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "radiograft.search", str(folder), *step]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait()


class _Output:
    """Copies the output of a process to a log and its messages to the console, in a thread."""

    def __init__(self, process: subprocess.Popen[str], log: IO[str], console: Console) -> None:
        self.lines: list[str] = []
        self.thread = threading.Thread(target=self._copy, args=(process, log, console), daemon=True)
        self.thread.start()

    def _copy(self, process: subprocess.Popen[str], log: IO[str], console: Console) -> None:
        for line in process.stdout or ():
            log.write(line)
            self.lines.append(line)
            message = MESSAGE.search(line)
            if message and message[1] != "DEBUG":
                console.print(f"  {escape(message[2])}", style="dim", highlight=False)
