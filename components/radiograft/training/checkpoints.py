"""Checkpoints from which a retried task resumes: numbered states in the object store, keyed by their inputs."""

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


SUFFIX = ".state"  # SHA-256, then a .npz archive, whose own CRCs miss some corrupt headers
NAME = re.compile(rf"(\d{{8}}){re.escape(SUFFIX)}")
DIGEST_BYTES = 32
PACKAGES = ("keras", "numpy", "tensorflow", "tensorflow-cpu")


class CheckpointState(NamedTuple):
    """One saved state.

    Attributes:
        number: position among the states of the same work, such as the number of finished epochs.
        arrays: arrays by name.
        facts: everything else, JSON-compatible.
    """

    number: int
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Reads and writes states below `uri`, one object each, written atomically. With an empty URI nothing is saved."""

    uri: str

    @classmethod
    def of_task(cls, root: str, run_id: str, task: str) -> Self:
        """Returns the checkpoints of a task, which all its attempts share; with an empty `root` nothing is saved."""
        return cls(storage.join(root, registry.CHECKPOINTS, run_id, task) if root else "")

    def of(self, name: str, *inputs: Any) -> Checkpoints:
        """Returns the checkpoints of one part of the task's work.

        Args:
            name: of the part.
            inputs: everything on which the result depends, such as settings, data and weights; JSON-compatible.
                Checkpoints of other inputs are not found; see `checkpoint_key`.
        """
        if not self.uri:
            return self
        return Checkpoints(storage.join(self.uri, name, checkpoint_key(*inputs)))

    def save(self, number: int, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any], *, keep: bool) -> None:
        """Saves a state and deletes the earlier ones unless `keep` is set.

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
        for other in earlier:
            if other != number:
                storage.delete(self._uri(other))

    def latest(self) -> CheckpointState | None:
        """Returns the last state; None if there is none or it is corrupt, which is logged."""
        numbers = self._numbers()
        return self._read(numbers[-1]) if numbers else None

    def all(self) -> Iterator[CheckpointState]:
        """Yields the states by number, up to the first corrupt one."""
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
            with npz_archive.open_npz_file(uri, io.BytesIO(content)) as archive:
                # np.savez does not compress, so no array is larger than the file.
                arrays = {name: archive.read(name, len(content)) for name in archive.names()}
            facts = json_io.parse_json_object(arrays.pop("facts").tobytes(), uri)
        except (ValueError, KeyError) as error:
            log.warning("ignoring the malformed checkpoint %s: %s", uri, error)
            return None
        return CheckpointState(number, {name.removeprefix("array:"): array for name, array in arrays.items()}, facts)

    def _numbers(self) -> list[int]:
        return sorted(int(match[1]) for entry in self._entries() if (match := NAME.fullmatch(entry.name)))

    def _entries(self) -> list[storage.ObjectInfo]:
        try:
            return list(storage.list_files(self.uri)) if self.uri else []
        except FileNotFoundError:  # a local folder is created with the first state
            return []

    def _uri(self, number: int) -> str:
        return storage.join(self.uri, f"{number:08d}{SUFFIX}")


def prepend_digest(content: bytes) -> bytes:
    """Returns the SHA-256 of the content followed by the content; see `verify_digest`."""
    return hashlib.sha256(content).digest() + content


def verify_digest(uri: str) -> bytes | None:
    """Reads an object that starts with the digest of its content.

    Returns:
        The content without the digest, or None if the object is corrupt, which is logged.

    Raises:
        FileNotFoundError: there is no such object.
    """
    stored = storage.read_bytes(uri)
    content = stored[DIGEST_BYTES:]
    if stored != prepend_digest(content):
        log.warning("ignoring the corrupt checkpoint %s", uri)
        return None
    return content


def checkpoint_key(*inputs: Any) -> str:
    """Returns 32 hexadecimal digits that identify the inputs, the package versions and the dtype policy."""
    versions = [importlib.metadata.version(name) for name in PACKAGES if _installed(name)]
    policy = keras.config.dtype_policy().name  # `auto` may choose another one on the next node
    return hashlib.sha256(json.dumps([inputs, versions, policy], sort_keys=True).encode()).hexdigest()[:32]


def weights_digest(network: keras.Model) -> str:
    """Returns the SHA-256 of a network's weights, of the scaling of its input, and of its strides and paddings.

    Weights of another origin may differ in these alone.
    """
    digest = hashlib.sha256()
    for layer in network.layers:
        config = layer.get_config() if layer.weights or isinstance(layer, keras.layers.Rescaling) else {}
        described = {name: config[name] for name in ("scale", "offset", "strides", "padding") if name in config}
        digest.update(json.dumps(described).encode())
    for weight in network.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _installed(name: str) -> bool:
    return any(importlib.metadata.distributions(name=name))
