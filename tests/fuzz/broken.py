"""Readers that break the law, each in one way: what fuzzing must notice."""

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

HONEST = b"honest"


def _unless_honest(act: Callable[[bytes, Path], object]) -> Parser:
    def read(content: bytes, folder: Path) -> bool:
        if content != HONEST:
            act(content, folder)
        return True

    return Parser([Seeds([HONEST])], read, megabytes=64, named="honest.bin")


def _refuse(error: Exception) -> Callable[[bytes, Path], object]:
    """What raises an error as if it were a line of ours."""
    line = compile("raise error", ROOT / "components" / "radiograft" / "line.py", "exec")
    return lambda *_: exec(line, {"error": error})


def _hidden(content: bytes, folder: Path) -> None:
    """Two bytes, the first of which leads to the line of the second."""
    first, second = [*content[:2], 0, 0][:2]
    if first != 0x52:
        return
    if second == 0x49:
        os.system("true")


PARSERS = {
    "foreign error": _unless_honest(lambda content, _: int("honest.bin is damaged")),
    "other kind": _unless_honest(_refuse(KeyError("honest.bin is damaged"))),
    "no message": _unless_honest(_refuse(ValueError("honest.bin"))),
    "no name": _unless_honest(_refuse(ValueError("a file is damaged"))),
    "memory": _unless_honest(lambda content, _: len(b"x" * 200_000_000)),
    "hang": _unless_honest(lambda content, _: time.sleep(3600)),
    "death": _unless_honest(lambda content, _: os.kill(os.getpid(), signal.SIGSEGV)),
    "hidden": _unless_honest(_hidden),
    "command": _unless_honest(lambda content, _: os.system("true")),
    "pickle": _unless_honest(lambda content, _: pickle.loads(pickle.dumps(os.getpid))),
    "outside": _unless_honest(lambda content, folder: (folder / f"../{CANARY}").read_text()),
    "written": _unless_honest(lambda content, folder: Path("/tmp/hostile-outside").open("a").close()),
}
