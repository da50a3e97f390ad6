"""Readers that break the law, each in one way: what fuzzing must notice."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.hostile.law import CANARY, Parser
from tests.hostile.mutations import Seeds

HONEST = b"honest"


def _unless_honest(act: Callable[[bytes, Path], object]) -> Parser:
    def read(content: bytes, folder: Path) -> bool:
        if content != HONEST:
            act(content, folder)
        return True

    return Parser([Seeds([HONEST])], read, megabytes=64)


def _spell(content: bytes, folder: Path) -> None:
    raise ValueError("no")  # the message is a word, as KeyError's is


PARSERS = {
    "foreign error": _unless_honest(lambda content, _: {}[content]),
    "no message": _unless_honest(_spell),
    "memory": _unless_honest(lambda content, _: len(b"x" * 200_000_000)),
    "hang": _unless_honest(lambda content, _: time.sleep(3600)),
    "death": _unless_honest(lambda content, _: os.kill(os.getpid(), signal.SIGSEGV)),
    "command": _unless_honest(lambda content, _: os.system("true")),
    "pickle": _unless_honest(lambda content, _: pickle.loads(pickle.dumps(os.getpid))),
    "outside": _unless_honest(lambda content, folder: (folder / f"../{CANARY}").read_text()),
    "written": _unless_honest(lambda content, folder: Path("/tmp/hostile-outside").open("a").close()),
}
