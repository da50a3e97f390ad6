"""The contract of every parser of untrusted files, and a monitor that checks it.

A parser accepts a file or raises an error that describes the problem, in bounded time and memory. It executes nothing
from the file and leaves the file's folder alone.
"""

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

MAX_SECONDS = 60  # for one small file, on a shared machine
CANARY = "canary"  # name of a file outside the input's folder, which no parser may open
FORBIDDEN_EVENTS = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "pickle.find_class",
)  # fmt: skip
PLAIN_ERRORS = (ValueError, TypeError, FileNotFoundError)
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT
RESERVED_ADDRESS_SPACE = 2**32  # bytes; libraries may reserve address space without using it


class Parser(NamedTuple):
    """A parser of untrusted bytes.

    Attributes:
        seeds: Valid files from which inputs are generated.
        read: Takes the bytes and an empty folder; returns whether it accepted the bytes, or raises.
        megabytes: Maximum memory for parsing one input.
        required_text: Text that every error message must contain, such as the name of the file.
        allowed_events: Audit events that are allowed, such as the subprocess that checks HDF5 files.
    """

    seeds: Sequence[Seeds]
    read: Callable[[bytes, Path], bool]
    megabytes: int = 256
    required_text: str = ""
    allowed_events: Sequence[str] = ()


class ContractViolationError(Exception):
    """A parser violated the contract; the message says how."""


class ContractMonitor:
    """Monitors this process from now on: opened files, executed commands, memory and time."""

    def __init__(self, folder: Path, max_seconds: float = MAX_SECONDS) -> None:
        self.folder, self.max_seconds, self.violation = folder, max_seconds, ""
        self.allowed_events: Sequence[str] = ()
        limit = _address_space() + RESERVED_ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.addaudithook(self._audit)

    def check(self, parser: Parser, content: bytes) -> bool:
        """Parses the content and returns whether the parser accepted it.

        A parser that exceeds the time limit ends this process.

        Raises:
            ContractViolationError: The parser violated the contract.
        """
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak memory
        memory_before, self.violation = _memory("VmRSS"), ""
        self.allowed_events = parser.allowed_events
        faulthandler.dump_traceback_later(self.max_seconds, exit=True)
        try:
            accepted = parser.read(content, self.folder)
        except Exception as error:
            _check_error(error, parser.required_text)
            accepted = False
        finally:
            faulthandler.cancel_dump_traceback_later()
        if self.violation:
            raise ContractViolationError(self.violation)
        used = _memory("VmHWM") - memory_before
        if used > parser.megabytes * 10**6:
            raise ContractViolationError(f"used {used // 10**6} MB, of {parser.megabytes} MB allowed")
        return accepted

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN_EVENTS and event not in self.allowed_events:
            self.violation = f"executed {event} {arguments!r:.200}"
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = Path(os.path.normpath(os.fsdecode(arguments[0])))
            outside = path.is_absolute() and not path.is_relative_to(self.folder)
            if path.name == CANARY or (outside and arguments[2] & WRITE_FLAGS):
                self.violation = f"left its folder: {path}"


def _check_error(error: Exception, required_text: str) -> None:
    """Checks that an error is built-in or ours, is raised by our own code, and describes the file."""
    kind = type(error)
    expected = kind in PLAIN_ERRORS or kind.__module__.startswith("radiograft.")
    raiser = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    ours = any(raiser.is_relative_to(ROOT / package) for package in ("components", "pipelines"))
    if not (expected and ours and " " in str(error) and required_text in str(error)):
        raise ContractViolationError(f"{raiser.name} raised {kind.__name__}: {error!s:.300}") from error


def _memory(field: str) -> int:
    """Returns the current (VmRSS) or peak (VmHWM) memory of this process in bytes; getrusage includes the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
