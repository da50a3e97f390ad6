"""The model registry: `<registry>/<model>/<version>/`, immutable numbered folders that TensorFlow Serving can load.

A version's number is claimed by creating `<model>/claims/<version>.json`, which one of racing writers can. Then its
files are uploaded, the marker `COMMITTED.json` last: without it a version does not exist for a reader of the registry.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

from components import storage

MARKER = "COMMITTED.json"
LOADED_LAST = "saved_model.pb"  # TensorFlow Serving loads a version once this file is there


def versions(registry: str, model: str) -> list[int]:
    """Numbers of the committed versions in ascending order."""
    try:
        names = [entry.name for entry in storage.list_files(storage.join(registry, model))]
    except FileNotFoundError:
        return []
    return sorted(int(name.split("/")[0]) for name in names if name.endswith(f"/{MARKER}") and name[0].isdigit())


def claim(registry: str, model: str, run_id: str) -> int:
    """The number of the version that this run may write: a new one, or the one it claimed in an earlier attempt."""
    taken = {int(Path(e.name).stem): e.uri for e in _claims(registry, model)}
    for number, uri in taken.items():
        if json.loads(storage.read_bytes(uri))["run_id"] == run_id:
            return number
    for number in itertools.count(max(taken, default=0) + 1):
        try:
            content = json.dumps({"run_id": run_id}).encode()
            storage.write_bytes(storage.join(registry, model, "claims", f"{number}.json"), content, only_if_absent=True)
            return number
        except FileExistsError:
            continue  # another run was quicker
    raise AssertionError("unreachable: itertools.count does not end")


def write_version(registry: str, model: str, number: int, files: dict[str, Path], facts: dict[str, Any]) -> str:
    """Uploads a version and commits it; returns its URI. A version that is committed already is left alone.

    Args:
        files: local files by their names in the version, `saved_model.pb` among them.
        facts: what else the marker tells, beside every file's SHA-256 and size.

    Raises:
        ValueError: `saved_model.pb` is not among the files.
    """
    if LOADED_LAST not in files:
        raise ValueError(f"a version must hold {LOADED_LAST}, got {', '.join(sorted(files))}")
    uri = storage.join(registry, model, str(number))
    if storage.exists(storage.join(uri, MARKER)):
        return uri
    checksums = {}
    for name in sorted(files, key=lambda name: (name == LOADED_LAST, name)):
        content = files[name].read_bytes()
        checksums[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        storage.write_bytes(storage.join(uri, name), content)
    marker = json.dumps({**facts, "version": number, "files": checksums}, indent=2)
    storage.write_bytes(storage.join(uri, MARKER), marker.encode(), only_if_absent=True)
    return uri


def verify(registry: str, model: str, number: int) -> dict[str, Any]:
    """Reads a committed version's marker and checks every file against it.

    Raises:
        FileNotFoundError: the version is not committed, or a file is gone.
        ValueError: a file's content differs from its checksum.
    """
    uri = storage.join(registry, model, str(number))
    marker: dict[str, Any] = json.loads(storage.read_bytes(storage.join(uri, MARKER)))
    for name, expected in marker["files"].items():
        found = hashlib.sha256(storage.read_bytes(storage.join(uri, name))).hexdigest()
        if found != expected["sha256"]:
            raise ValueError(f"{storage.join(uri, name)} must have SHA-256 {expected['sha256']}, got {found}")
    return marker


def _claims(registry: str, model: str) -> list[storage.Entry]:
    try:
        return list(storage.list_files(storage.join(registry, model, "claims")))
    except FileNotFoundError:
        return []
