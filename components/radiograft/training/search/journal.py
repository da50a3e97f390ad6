"""Optuna's journal on the object store: any number of processes share a study without a database."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from radiograft.storage.append_log import AppendLog, Entry

# Numbers of `optuna.storages.journal._storage.JournalOperation`: parameters, reports and attributes of a trial. Only
# the process that runs the trial writes them, so their order relative to other processes does not matter.
DEFERRED = frozenset({5, 7, 8, 9})
FLUSH_SECONDS = 10.0


class ObjectJournal(BaseJournalBackend):
    """A journal backend that needs create-if-absent only; see `AppendLog`.

    Reports and attributes of a running trial are collected. They are written with the next operation that other
    processes must see at once, or after `flush_seconds`. A trial therefore costs two objects and one for each interval.
    A killed process loses the reports of the last interval, which a resumed trial makes again.

    Args:
        uri: folder of the journal: a path, gs:// or s3://.
        flush_seconds: longest time for which reports are collected.
        clock: returns seconds.
    """

    def __init__(
        self, uri: str, flush_seconds: float = FLUSH_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log, self._flush_seconds, self._clock = AppendLog(uri), flush_seconds, clock
        self._entries, self._pending = list[Entry](), list[Entry]()
        self._flushed, self._exclusive = clock(), False

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Returns the entries from a number on, in the order in which this process learned of them."""
        if not self._exclusive:
            self._entries += self._log.read_new()
        return self._entries[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends entries, or collects them if they may be deferred."""
        entries = json.loads(json.dumps(logs))  # as other processes read them
        if not all(entry["op_code"] in DEFERRED for entry in entries):
            self._write(entries)
            return
        self._pending += entries
        self._entries += entries
        if self._clock() - self._flushed >= self._flush_seconds:
            self.flush()

    def flush(self) -> None:
        """Writes the collected entries."""
        if self._pending:
            self._write([])

    @contextlib.contextmanager
    def only_if_unchanged(self) -> Iterator[None]:
        """Within the context, an append raises FileExistsError if the journal changed since it was last read."""
        self._exclusive = True
        try:
            yield
        finally:
            self._exclusive = False

    def export(self, path: Path) -> None:
        """Writes the entries as a file of Optuna's JournalFileBackend, which optuna-dashboard opens."""
        lines = (json.dumps(entry, separators=(",", ":")) for entry in self.read_logs(0))
        path.write_text("".join(f"{line}\n" for line in lines))

    def _write(self, entries: list[Entry]) -> None:
        while True:
            try:
                self._log.append([*self._pending, *entries])
                break
            except FileExistsError:
                if self._exclusive:
                    raise
                self._entries += self._log.read_new()
        self._entries += entries  # the collected ones are among them already
        self._pending.clear()
        self._flushed = self._clock()
