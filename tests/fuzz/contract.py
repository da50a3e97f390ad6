"""What every parser of foreign bytes owes: it takes a file or says why not, soon, in little memory; it runs nothing."""

from __future__ import annotations

import faulthandler
import os
import resource
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.mutations import Seeds
from tests.repository import ROOT

LONGEST = 60  # seconds for one small file, on a machine that others use too
CANARY = "canary"  # a file beside the folder of the input, which no input may reach
RUNNING = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "pickle.find_class"),
)
TOLD = (ValueError, TypeError, FileNotFoundError)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
STEPS_ASIDE = 2**32  # bytes of address space beyond the bound, which a library may reserve without using them


class Parser(NamedTuple):
    """A reader of foreign bytes.

    Attributes:
        seeds: what inputs are made from.
        read: takes the bytes and an empty folder; says whether it accepted them, where it raises nothing.
        megabytes: the most memory that reading a file as small as the inputs may take.
        named: what every refusal names: the file.
    """

    seeds: Sequence[Seeds]
    read: Callable[[bytes, Path], bool]
    megabytes: int = 256
    named: str = ""


class BrokenError(Exception):
    """The law was broken; the message says how."""


class Watch:
    """Watches this process from now on: what is opened and run, how much memory it takes, how long."""

    def __init__(self, folder: Path, longest: float = LONGEST) -> None:
        self.folder, self.longest, self.seen = folder, longest, ""
        limit = _address_space() + STEPS_ASIDE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.addaudithook(self._audit)

    def examine(self, parser: Parser, content: bytes) -> bool:
        """Whether the parser accepts the content.

        Raises:
            BrokenError: it broke the law. A process that dies or is killed for being slow did too.
        """
        Path("/proc/self/clear_refs").write_text("5")  # so that the peak begins anew
        resting, self.seen = _memory("VmRSS"), ""
        faulthandler.dump_traceback_later(self.longest, exit=True)
        try:
            accepted = parser.read(content, self.folder)
        except Exception as error:
            _check_told(error, parser.named)
            accepted = False
        finally:
            faulthandler.cancel_dump_traceback_later()
        if self.seen:
            raise BrokenError(self.seen)
        if (taken := _memory("VmHWM") - resting) > parser.megabytes * 10**6:
            raise BrokenError(f"took {taken // 10**6} MB, of {parser.megabytes} MB allowed")
        return accepted

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in RUNNING:
            self.seen = f"ran something: {event} {arguments!r:.200}"
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = Path(os.path.normpath(os.fsdecode(arguments[0])))
            outside = path.is_absolute() and not path.is_relative_to(self.folder)
            if path.name == CANARY or (outside and arguments[2] & WRITING):
                self.seen = f"left its folder: {path}"


def _check_told(error: Exception, named: str) -> None:
    """A refusal is a plain error or one of ours, raised by our own code, not by what it calls, and says something of
    the file."""
    kind = type(error)
    plain = kind in TOLD or kind.__module__.startswith("radiograft.")
    raiser = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    ours = any(raiser.is_relative_to(ROOT / package) for package in ("components", "pipelines"))
    if not (plain and ours and " " in str(error) and named in str(error)):
        raise BrokenError(f"{raiser.name} raised {kind.__name__}: {error!s:.300}") from error


def _memory(field: str) -> int:
    """Bytes of memory that this process has: now (VmRSS) or at most (VmHWM); getrusage counts its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
