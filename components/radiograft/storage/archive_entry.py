"""A file in an archive, as the readers of each kind of archive yield it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

MAX_MEMBERS = 2**20


class Entry(NamedTuple):
    """A file in an archive: its position among all members, path, size in bytes, and a function that reads it."""

    number: int
    name: str
    size: int
    read: Callable[[], bytes]
