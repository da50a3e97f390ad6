"""File-like access to an object that fetches only the ranges that are read."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any, cast

READ_AHEAD = 2**22  # bytes per request
FetchRange = Callable[[int, int], bytes]


def open_ranges(uri: str, size: int, fetch: FetchRange) -> IO[bytes]:
    """Opens an object for reading.

    Args:
        size: of the object in bytes.
        fetch: returns the bytes from the first to the last position, inclusive. Its errors are raised by reads.
    """
    return cast(IO[bytes], io.BufferedReader(_Reader(uri, size, fetch), READ_AHEAD))


class _Reader(io.RawIOBase):
    """Sends one range request per read."""

    def __init__(self, uri: str, size: int, fetch: FetchRange) -> None:
        self.name = uri  # pydicom reads the name of a file
        self.size, self.fetch, self.position = size, fetch, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence] + offset
        return self.position

    def readinto(self, buffer: Any) -> int:
        content = self._read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        return self._read(self.size)

    def _read(self, length: int) -> bytes:
        end = min(self.position + length, self.size)
        if end <= self.position:
            return b""
        content = self.fetch(self.position, end - 1)
        self.position = end
        return content
