"""Runs functions in processes of their own, as pods do, without importing TensorFlow in each.

The processes are forked from one that has imported their modules. The process of the tests cannot be forked: it has
used TensorFlow, whose threads would be missing.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.helpers.killed_stage", "tests.helpers.killed_preprocess"])


class Ended(NamedTuple):
    """A process that ended: its exit status, negative for a signal, and what it printed to standard output."""

    status: int
    output: str


def run_forked(function: Callable[..., None], *arguments: str, scratch: Path) -> Ended:
    """Runs a function of an importable module with this environment, and `scratch` as its temporary folder."""
    with tempfile.NamedTemporaryFile(dir=scratch, prefix="output-") as file:
        variables = os.environ | {"TMPDIR": str(scratch)}
        process = _CONTEXT.Process(target=_run, args=(file.name, variables, function, arguments))
        process.start()
        process.join()
        assert process.exitcode is not None
        return Ended(process.exitcode, Path(file.name).read_text())


def _run(output: str, variables: dict[str, str], function: Callable[..., None], arguments: tuple[str, ...]) -> None:
    os.environ.update(variables)
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    sys.stdout.flush()
    os.dup2(descriptor, 1)
    function(*arguments)
