"""What a killed task needs to go on: numbered states in the object store, found again only by the same work."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import io
import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self

import keras
import numpy as np

from radiograft import storage
from radiograft.registry import versions as registry
from radiograft.storage import npz_archive
from radiograft.utils import json_io

log = logging.getLogger(__name__)


SUFFIX = ".state"  # SHA-256, then a .npz archive: its own CRCs let some damaged headers pass
NAME = re.compile(rf"(\d{{8}}){re.escape(SUFFIX)}")
DIGEST_BYTES = 32
PACKAGES = ("keras", "numpy", "tensorflow", "tensorflow-cpu")


class CheckpointState(NamedTuple):
    """A state's number, its arrays by name and what else there is to say, as JSON can hold it."""

    number: int
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """States below `uri`, one object each, which appear whole or not at all. Without a URI nothing is kept."""

    uri: str

    @classmethod
    def of_task(cls, root: str, run_id: str, task: str) -> Self:
        """The place of a task's states, the same in every attempt, until the run has published; without `root` none."""
        return cls(storage.join(root, registry.CHECKPOINTS, run_id, task) if root else "")

    def of(self, name: str, *facts: Any) -> Checkpoints:
        """The states of one piece of work; other facts (settings, data, weights, packages, arithmetic) have another
        place.

        Args:
            facts: whatever the result depends on, as JSON can hold it.
        """
        if not self.uri:
            return self
        return Checkpoints(storage.join(self.uri, name, checkpoint_key(*facts)))

    def save(self, number: int, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any], *, keep: bool) -> None:
        """Writes one state; unless `keep`, those before it are removed.

        Raises:
            ValueError: an array holds Python objects.
        """
        if not self.uri:
            return
        content = io.BytesIO()
        encoded = np.frombuffer(json.dumps(facts).encode(), dtype="uint8")
        named: dict[str, Any] = {f"array:{name}": array for name, array in arrays.items()}
        np.savez(content, allow_pickle=False, facts=encoded, **named)
        earlier = [] if keep else self._numbers()
        storage.write_bytes(self._uri(number), prepend_digest(content.getvalue()))
        for each in earlier:
            if each != number:
                storage.delete(self._uri(each))

    def latest(self) -> CheckpointState | None:
        """The last state; None where there is none or it is damaged, which is logged: the work then begins anew."""
        numbers = self._numbers()
        return self._read(numbers[-1]) if numbers else None

    def all(self) -> Iterator[CheckpointState]:
        """The states in order of number, up to the first damaged one."""
        for number in self._numbers():
            state = self._read(number)
            if state is None:
                return
            yield state

    def _read(self, number: int) -> CheckpointState | None:
        uri = self._uri(number)
        content = verify_digest(uri)
        if content is None:
            return None
        try:
            with npz_archive.open_npz_file(
                uri, io.BytesIO(content)
            ) as found:  # savez does not compress: no array outgrows the file
                arrays = {name: found.read(name, len(content)) for name in found.names()}
            facts = json_io.parse_json_object(arrays.pop("facts").tobytes(), uri)
        except (ValueError, KeyError) as error:
            log.warning("the checkpoint %s is no state and is not used: %s", uri, error)
            return None
        return CheckpointState(number, {name.removeprefix("array:"): array for name, array in arrays.items()}, facts)

    def _numbers(self) -> list[int]:
        return sorted(int(found[1]) for entry in self._entries() if (found := NAME.fullmatch(entry.name)))

    def _entries(self) -> list[storage.ObjectInfo]:
        try:
            return list(storage.list_files(self.uri)) if self.uri else []
        except FileNotFoundError:  # a local folder that no state has made yet
            return []

    def _uri(self, number: int) -> str:
        return storage.join(self.uri, f"{number:08d}{SUFFIX}")


def prepend_digest(content: bytes) -> bytes:
    """What `unsealed` reads again: the content behind its SHA-256."""
    return hashlib.sha256(content).digest() + content


def verify_digest(uri: str) -> bytes | None:
    """The content of an object that was sealed; None where it is damaged, which is logged.

    Raises:
        FileNotFoundError: there is no such object.
    """
    stored = storage.read_bytes(uri)
    content = stored[DIGEST_BYTES:]
    if stored != prepend_digest(content):
        log.warning("the checkpoint %s is damaged and is not used", uri)
        return None
    return content


def checkpoint_key(*facts: Any) -> str:
    """What only the same work on the same packages and arithmetic has: 32 hexadecimal digits."""
    versions = [importlib.metadata.version(name) for name in PACKAGES if _installed(name)]
    arithmetic = keras.config.dtype_policy().name  # `auto` may be another one on the next node
    return hashlib.sha256(json.dumps([facts, versions, arithmetic], sort_keys=True).encode()).hexdigest()[:32]


def weights_digest(network: keras.Model) -> str:
    """SHA-256 over a network's weights: what begins elsewhere is other work."""
    digest = hashlib.sha256()
    for weight in network.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _installed(name: str) -> bool:
    return any(importlib.metadata.distributions(name=name))
