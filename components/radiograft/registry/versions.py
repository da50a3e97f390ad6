"""The model registry: `<registry>/<model>/<version>/`, immutable numbered folders that TensorFlow Serving can load.

A version must become visible to all readers at once. TensorFlow Serving treats every folder with a numeric name as a
version and loads it once it contains `saved_model.pb`. Readers of the registry rely on `manifest.json`, which lists
every file with its SHA-256.
- On disk, each attempt writes to a hidden folder of its own and then renames it to the version number.
- Buckets cannot rename. There the manifest is written second to last and `saved_model.pb` last, and a version exists
  once both exist: a single write publishes it to Serving and to the registry. In the opposite order, a publisher killed
  between the two writes would leave a model that is served but not registered.

The manifest contains its own SHA-256, computed with SHA256_PLACEHOLDER in its place.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from radiograft import storage
from radiograft.utils import json_io

MANIFEST = "manifest.json"
COMMIT_MARKER = "saved_model.pb"
SHA256_PLACEHOLDER = "0" * 64
CHECKPOINTS = "_checkpoints"  # checkpoints of runs that have not published yet; no model name starts like this
TENSORBOARD = "_tensorboard"  # logs of all published runs, by model
EXTRA_ASSETS = "assets.extra"  # where the SavedModel format expects additional files


def list_versions(registry: str, model: str) -> list[int]:
    """Returns the numbers of all existing versions in ascending order."""
    names = {entry.name for entry in files_below(storage.join(registry, model))}
    numbers = [int(match[1]) for name in names if (match := re.fullmatch(rf"([1-9]\d*)/{MANIFEST}", name))]
    return sorted(number for number in numbers if f"{number}/{COMMIT_MARKER}" in names)


def write_version(registry: str, model: str, number: int, files: dict[str, Path], metadata: dict[str, Any]) -> str:
    """Writes a version and returns its URI. An existing version is left unchanged.

    Several attempts of one run may write at the same time, for example if an evicted pod is still running. On disk the
    first complete version is kept. In a bucket all attempts write the same bytes, because the content of a version
    depends only on its claim and the inputs.

    Args:
        files: local files by their names in the version, including `saved_model.pb`.
        metadata: further entries of the manifest, next to the SHA-256 and size of each file.

    Raises:
        ValueError: `saved_model.pb` is missing.
    """
    if COMMIT_MARKER not in files:
        raise ValueError(f"a version must contain {COMMIT_MARKER}, got {', '.join(sorted(files))}")
    uri = storage.join(registry, model, str(number))
    if _exists(uri):
        return uri
    if storage.is_bucket(uri):
        for leftover in files_below(uri):  # by a killed attempt
            if leftover.name not in {*files, MANIFEST}:  # a live attempt may already have written the others
                storage.delete(leftover.uri)
        _write(uri, files, {**metadata, "version": number})
    else:
        _write_on_disk(Path(uri), files, {**metadata, "version": number})
    return uri


def read_manifest(registry: str, model: str, number: int) -> dict[str, Any]:
    """Reads the manifest of a version: `version`, `files` (name -> `sha256`, `bytes`) and the publisher's metadata.

    Raises:
        FileNotFoundError: the version does not exist; the message lists the existing versions.
        ValueError: the manifest is malformed or corrupt.
    """
    uri = storage.join(registry, model, str(number))
    if not _exists(uri):
        known = ", ".join(map(str, list_versions(registry, model))) or "none"
        raise FileNotFoundError(f"{model} has no version {number} in {registry}; existing versions: {known}")
    name = storage.join(uri, MANIFEST)
    content = storage.read_bytes(name)
    manifest = json_io.parse_json_object(content, name)
    if not _matches_own_digest(content, str(manifest.get("sha256"))):
        raise ValueError(f"{name} must match its own `sha256`; the version is corrupt")
    files = manifest.get("files") if manifest.get("version") == number else None
    if not isinstance(files, dict) or not all(isinstance(file, dict) and "sha256" in file for file in files.values()):
        raise ValueError(
            f"{name} must contain `version` {number} and the `sha256` of each file under `files`; the version is "
            "corrupt"
        )
    return manifest


def read_file(registry: str, model: str, number: int, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yields names and contents of files of a version, each verified against the manifest.

    Raises:
        FileNotFoundError: the version or one of the files does not exist.
        ValueError: a name is not in the manifest, or the content of a file does not match it.
    """
    uri, files = storage.join(registry, model, str(number)), read_manifest(registry, model, number)["files"]
    for name in names:
        if name not in files:
            raise ValueError(f"version {number} of {model} has no {name!r}; it has {', '.join(files)}")
        yield name, _read_verified(storage.join(uri, name), files[name]["sha256"])


def read_objects(registry: str, model: str, number: int, *names: str) -> list[dict[str, Any]]:
    """Reads JSON objects from `assets.extra`, by names such as `metrics.json`.

    Raises:
        FileNotFoundError, ValueError: as `read_file`, or a file does not contain a JSON object.
    """
    files = read_file(registry, model, number, [f"{EXTRA_ASSETS}/{name}" for name in names])
    return [
        json_io.parse_json_object(content, f"{name} of version {number}")
        for name, (_, content) in zip(names, files, strict=True)
    ]


def fetch_version(registry: str, model: str, number: int, names: Iterable[str], folder: Path) -> None:
    """Copies files of a version to the same names below `folder`. Raises the same errors as `read_file`."""
    for name, content in read_file(registry, model, number, names):
        storage.write_bytes(str(folder / name), content)


def verify_version(registry: str, model: str, number: int) -> dict[str, Any]:
    """Verifies every file of a version against its manifest and returns the manifest.

    Raises:
        FileNotFoundError: the version or one of its files does not exist.
        ValueError: the content of a file does not match the manifest, or the manifest does not list a file.
    """
    uri, manifest = storage.join(registry, model, str(number)), read_manifest(registry, model, number)
    unlisted = {entry.name for entry in files_below(uri)} - {MANIFEST, *manifest["files"]}
    if unlisted:
        raise ValueError(f"{uri} must contain only files in its manifest, got also {', '.join(sorted(unlisted))}")
    for name, expected in manifest["files"].items():
        _read_verified(storage.join(uri, name), expected["sha256"])
    return manifest


def files_below(uri: str) -> list[storage.ObjectInfo]:
    """Lists every file below a folder of the registry; returns an empty list if the folder does not exist."""
    try:
        return list(storage.list_files(uri))
    except FileNotFoundError:
        return []


def _write_on_disk(version: Path, files: dict[str, Path], metadata: dict[str, Any]) -> None:
    draft = version.with_name(f".{version.name}-{secrets.token_hex(8)}")
    try:
        _write(str(draft), files, metadata)
        draft.rename(version)  # fails if another attempt has already written the version
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not _exists(str(version)):
            raise
    for leftover in version.parent.glob(f".{version.name}-*"):  # of attempts that were killed or are too late
        shutil.rmtree(leftover, ignore_errors=True)


def _write(uri: str, files: dict[str, Path], metadata: dict[str, Any]) -> None:
    entries = {}
    for name in sorted(files.keys() - {COMMIT_MARKER}):
        content = files[name].read_bytes()
        entries[name] = _manifest_entry(content)
        storage.write_bytes(storage.join(uri, name), content)
    marker = files[COMMIT_MARKER].read_bytes()
    entries[COMMIT_MARKER] = _manifest_entry(marker)
    storage.write_bytes(storage.join(uri, MANIFEST), with_own_digest({**metadata, "files": entries}))
    storage.write_bytes(storage.join(uri, COMMIT_MARKER), marker)


def with_own_digest(manifest: dict[str, Any]) -> bytes:
    """Serializes a manifest, preceded by its own SHA-256, computed with SHA256_PLACEHOLDER in its place."""
    content = json.dumps({"sha256": SHA256_PLACEHOLDER, **manifest}, indent=2).encode()
    return content.replace(SHA256_PLACEHOLDER.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


def _matches_own_digest(content: bytes, digest: str) -> bool:
    without_digest = content.replace(digest.encode(errors="replace"), SHA256_PLACEHOLDER.encode(), 1)
    return hashlib.sha256(without_digest).hexdigest() == digest


def _manifest_entry(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _read_verified(uri: str, sha256: str) -> bytes:
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{uri} is listed in {MANIFEST} but does not exist") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ValueError(f"{uri} must have SHA-256 {sha256}, got {digest}")
    return content


def _exists(uri: str) -> bool:
    return all(storage.exists(storage.join(uri, name)) for name in (MANIFEST, COMMIT_MARKER))
