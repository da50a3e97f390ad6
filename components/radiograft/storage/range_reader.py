"""An object as a file, of which only what is read is fetched."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any, cast

READ_AHEAD = 2**22  # bytes that an open object fetches at a time
FetchRange = Callable[[int, int], bytes]


def open_ranges(uri: str, size: int, fetch: FetchRange) -> IO[bytes]:
    """A reader of an object.

    Args:
        size: of the object, bytes.
        fetch: gives the bytes from the first place to the last one, both included; it raises what reading shall raise.
    """
    return cast(IO[bytes], io.BufferedReader(_Reader(uri, size, fetch), READ_AHEAD))


class _Reader(io.RawIOBase):
    """Every read is one request for a range."""

    def __init__(self, uri: str, size: int, fetch: FetchRange) -> None:
        self.name, self.size, self.fetch, self.place = uri, size, fetch, 0  # files have a name, which pydicom asks for

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence] + offset
        return self.place

    def readinto(self, buffer: Any) -> int:
        content = self._read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        return self._read(self.size)

    def _read(self, length: int) -> bytes:
        end = min(self.place + length, self.size)
        if end <= self.place:
            return b""
        content = self.fetch(self.place, end - 1)
        self.place = end
        return content
