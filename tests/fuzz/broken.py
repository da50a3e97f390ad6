"""Parsers that each violate the contract in one way, to check that fuzzing detects it."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.contract import CANARY, Parser
from tests.fuzz.mutations import Seeds
from tests.repository import ROOT

VALID = b"valid"


def _unless_valid(misbehave: Callable[[bytes, Path], object]) -> Parser:
    def read(content: bytes, folder: Path) -> bool:
        if content != VALID:
            misbehave(content, folder)
        return True

    return Parser([Seeds([VALID])], read, megabytes=64, required_text="valid.bin")


def _raise_in_package(error: Exception) -> Callable[[bytes, Path], object]:
    """Returns a function that raises an error as if from a module of the package."""
    line = compile("raise error", ROOT / "components" / "radiograft" / "line.py", "exec")
    return lambda *_: exec(line, {"error": error})


def _hidden(content: bytes, folder: Path) -> None:
    """Misbehaves only for two specific bytes; the first one reaches the line that checks the second."""
    first, second = [*content[:2], 0, 0][:2]
    if first != 0x52:
        return
    if second == 0x49:
        os.system("true")


PARSERS = {
    "foreign error": _unless_valid(lambda content, _: int("valid.bin is damaged")),
    "other kind": _unless_valid(_raise_in_package(KeyError("valid.bin is damaged"))),
    "no message": _unless_valid(_raise_in_package(ValueError("valid.bin"))),
    "no name": _unless_valid(_raise_in_package(ValueError("a file is damaged"))),
    "memory": _unless_valid(lambda content, _: len(b"x" * 200_000_000)),
    "hang": _unless_valid(lambda content, _: time.sleep(3600)),
    "death": _unless_valid(lambda content, _: os.kill(os.getpid(), signal.SIGSEGV)),
    "hidden": _unless_valid(_hidden),
    "command": _unless_valid(lambda content, _: os.system("true")),
    "pickle": _unless_valid(lambda content, _: pickle.loads(pickle.dumps(os.getpid))),
    "outside": _unless_valid(lambda content, folder: (folder / f"../{CANARY}").read_text()),
    "written": _unless_valid(lambda content, folder: Path("/tmp/fuzz-outside").open("a").close()),
}
