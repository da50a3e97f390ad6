"""Loads pickles with a restricted unpickler: it knows only stand-ins, and nothing that a pickle names is imported."""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import TypeVar

from radiograft.storage.pickle_cost import check_pickle_cost


class UnsafeCheckpointError(ValueError):
    """The checkpoint refers to code that tensors do not need. No code was run."""


UnpicklerT = TypeVar("UnpicklerT", bound=pickle.Unpickler)


def refuse_global(module: str, name: str) -> UnsafeCheckpointError:
    """Returns the error for a global that is not admitted."""
    return UnsafeCheckpointError(
        f"refused the global {module}.{name}: a checkpoint must contain only tensors in an OrderedDict; "
        "do not trust this file, or save only the model's state_dict()"
    )


def load_restricted(stream: io.BytesIO, content: str, kind: type[UnpicklerT]) -> tuple[object, UnpicklerT]:
    """Reads the pickle at the stream's position, and leaves the stream at its end.

    Args:
        stream: the file.
        content: what the pickle holds, for error messages.
        kind: an unpickler whose `find_class` admits only stand-ins.

    Returns:
        The pickle's value and the unpickler.

    Raises:
        UnsafeCheckpointError: the pickle refers to code that tensors do not need. No code was run.
        ValueError: the pickle is corrupt, or too expensive to load.
    """
    start = stream.tell()
    try:
        _check_opcodes(stream)
        length = stream.tell() - start
        stream.seek(start)
        check_pickle_cost(stream)
        stream.seek(start)
        unpickler = kind(io.BytesIO(stream.read(length)))
        return unpickler.load(), unpickler
    except UnsafeCheckpointError:
        raise
    except Exception as error:  # unpickling corrupt data may raise any exception, see the documentation
        raise ValueError(f"the pickle of the {content} is corrupt or does not contain tensors: {error}") from error


def _check_opcodes(stream: io.BytesIO) -> None:
    """Rejects opcodes that bypass `find_class`."""
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("EXT1", "EXT2", "EXT4"):
            raise UnsafeCheckpointError(f"refused the global of copyreg's extension code {argument}")
