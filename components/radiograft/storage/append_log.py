"""A log that several processes append to, on any storage backend, without a database or a lock.

The log is a sequence of objects `<uri>/00000000.json`, `00000001.json`, ... Each holds a batch of entries. A process
appends by creating the next object, which only one of several concurrent processes can do.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from radiograft import storage
from radiograft.utils import json_io

NAME = re.compile(r"\d{8}\.json")
Entry = dict[str, Any]


class AppendLog:
    """Reads and appends batches of JSON objects below a URI.

    The objects are listed once. After that, reading costs one request for each new batch and one for the missing next.

    Attributes:
        position: number of batches that this process has read or written; the next batch gets this number.
    """

    def __init__(self, uri: str) -> None:
        self.uri, self.position = uri, 0
        self._writer, self._written = uuid.uuid4().hex, 0

    def read_new(self) -> list[Entry]:
        """Returns the entries that other processes appended since the last call, in order.

        Raises:
            ValueError: an object is malformed.
        """
        batches = self._read_all() if not self.position else []
        batches += self._poll()
        return [entry for batch in batches for entry in batch]

    def append(self, entries: Sequence[Entry]) -> None:
        """Appends the entries as one batch at `position`.

        Raises:
            FileExistsError: another process has appended since; call `read_new` before the next attempt.
        """
        batch = {"writer": self._writer, "number": self._written, "entries": list(entries)}
        try:
            storage.write_bytes(self._name(self.position), json.dumps(batch).encode(), only_if_absent=True)
        except FileExistsError:
            if not self._is_own(self._read(self._name(self.position))):
                raise  # otherwise a retry after a lost response found the object that the first attempt wrote
        self.position += 1
        self._written += 1

    def _is_own(self, batch: Entry) -> bool:
        return bool(batch["writer"] == self._writer and batch["number"] == self._written)

    def _read_all(self) -> list[list[Entry]]:
        """Reads the objects that a listing returns, several at a time."""
        with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
            batches = [batch["entries"] for batch in pool.map(self._read, self._list())]
        self.position = len(batches)
        return batches

    def _list(self) -> list[str]:
        try:
            return [entry.uri for entry in storage.list_files(self.uri) if NAME.fullmatch(entry.name)]
        except FileNotFoundError:  # a local folder is created with the first batch
            return []

    def _poll(self) -> Iterator[list[Entry]]:
        while True:
            try:
                batch = self._read(self._name(self.position))
            except FileNotFoundError:
                return
            self.position += 1
            yield batch["entries"]

    def _read(self, uri: str) -> Entry:
        return json_io.parse_json_object(storage.read_bytes(uri), uri)

    def _name(self, number: int) -> str:
        return storage.join(self.uri, f"{number:08d}.json")
