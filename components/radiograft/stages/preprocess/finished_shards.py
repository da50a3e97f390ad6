"""The shards that are whole already: what an attempt that was killed leaves to the next one."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Self

from radiograft import storage
from radiograft.data.shards import files as shard_files
from radiograft.data.shards import row_status
from radiograft.training import checkpoints
from radiograft.training.checkpoints import Checkpoints

KEY = "key"  # file that tells which work the shards of a folder are
SUFFIXES = (shard_files.SUFFIX, row_status.SUFFIX)  # of a shard's files; the one written last comes last


@dataclasses.dataclass(frozen=True)
class Finished:
    """Shards in a folder and, for an attempt that finds the folder empty, copies in the object store."""

    folder: Path
    copies: Checkpoints

    @classmethod
    def open(cls, folder: Path, place: Checkpoints, *facts: object) -> Self:
        """Those of one piece of work; what other facts led to is removed from the folder.

        Args:
            facts: whatever the shards depend on, as JSON can hold it.
        """
        key = checkpoints.key(*facts)
        if not (folder / KEY).is_file() or (folder / KEY).read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            storage.write_bytes(str(folder / KEY), key.encode())
        return cls(folder, place.of("shards", *facts))

    def has(self, name: str) -> bool:
        """Whether a shard is whole; fetches it from the object store if that has it and the folder has not.

        One that was damaged there is not used, which is logged.
        """
        last = name + SUFFIXES[-1]
        if not (self.folder / last).exists() and self.copies.uri and storage.exists(self._copy(last)):
            self._fetch(name)
        return (self.folder / last).exists()

    def copy(self, name: str) -> None:
        """Copies a shard to the object store."""
        for file in (name + suffix for suffix in SUFFIXES if self.copies.uri):
            storage.write_bytes(self._copy(file), checkpoints.sealed((self.folder / file).read_bytes()))

    def _fetch(self, name: str) -> None:
        for file in (name + suffix for suffix in SUFFIXES):
            content = checkpoints.unsealed(self._copy(file))
            if content is None:
                return  # without its last file the shard is not there, and is made anew
            storage.write_bytes(str(self.folder / file), content)

    def _copy(self, file: str) -> str:
        return storage.join(self.copies.uri, file)
