"""The model registry: `<registry>/<model>/<version>/`, immutable numbered folders that TensorFlow Serving can load.

A version must appear to everybody at once. TensorFlow Serving takes every folder with a number for a name, and loads it
when it finds `saved_model.pb`; readers of the registry go by `manifest.json`, which names every file with its SHA-256.
- On disk the files are written to a hidden folder of each attempt's own, which is renamed to the number.
- A bucket cannot rename. There `saved_model.pb` is written last, after the manifest, and a version exists when both are
  there: the one write that completes it does so for Serving and for the registry. The other way round, a publisher
  killed between the two would leave a model that is served but not registered.
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
SHA256_PLACEHOLDER = "0" * 64  # stands in the manifest where its own SHA-256 will, while that is computed
CHECKPOINTS = "_checkpoints"  # below it, what each run keeps until it has published; no model's name begins so
EXTRA_ASSETS = "assets.extra"  # the place that the SavedModel format leaves for other files


def list_versions(registry: str, model: str) -> list[int]:
    """Numbers of the versions that exist, in ascending order."""
    names = {entry.name for entry in files_below(storage.join(registry, model))}
    numbers = [int(found[1]) for name in names if (found := re.fullmatch(rf"([1-9]\d*)/{MANIFEST}", name))]
    return sorted(number for number in numbers if f"{number}/{COMMIT_MARKER}" in names)


def write_version(registry: str, model: str, number: int, files: dict[str, Path], facts: dict[str, Any]) -> str:
    """Stores a version and returns its URI. One that exists already is left alone.

    Several attempts of one run may do so at once (a pod evicted but not dead yet, and the next one): on disk the first
    whole one stays; in a bucket they write the same bytes, for all of a version comes from the claim and the inputs.

    Args:
        files: local files by their names in the version, `saved_model.pb` among them.
        facts: what else the manifest tells, beside every file's SHA-256 and size.

    Raises:
        ValueError: `saved_model.pb` is not among the files.
    """
    if COMMIT_MARKER not in files:
        raise ValueError(f"a version must hold {COMMIT_MARKER}, got {', '.join(sorted(files))}")
    uri = storage.join(registry, model, str(number))
    if _exists(uri):
        return uri
    if storage.is_bucket(uri):
        for left in files_below(uri):  # by an attempt that was killed; what is not written anew would be a stranger
            if left.name not in {*files, MANIFEST}:  # another live attempt may be about to complete the version
                storage.delete(left.uri)
        _write(uri, files, {**facts, "version": number})
        return uri
    _write_on_disk(Path(uri), files, {**facts, "version": number})
    return uri


def read_manifest(registry: str, model: str, number: int) -> dict[str, Any]:
    """What a version's manifest tells: `version`, `files` (name -> `sha256`, `bytes`) and the publisher's facts.

    Raises:
        FileNotFoundError: there is no such version; the message names those there are.
        ValueError: the manifest is none.
    """
    uri = storage.join(registry, model, str(number))
    if not _exists(uri):
        known = ", ".join(map(str, list_versions(registry, model))) or "no versions yet"
        raise FileNotFoundError(f"{model} has no version {number} in {registry}; there are {known}")
    name = storage.join(uri, MANIFEST)
    content = storage.read_bytes(name)
    found = json_io.parse_json_object(content, name)
    if not _matches_own_digest(content, str(found.get("sha256"))):
        raise ValueError(f"{name} must have the SHA-256 that it states itself; the version is damaged")
    files = found.get("files") if found.get("version") == number else None
    if not isinstance(files, dict) or not all(isinstance(each, dict) and "sha256" in each for each in files.values()):
        raise ValueError(
            f"{name} must tell version {number} and each file's SHA-256 under `files`; the version is damaged"
        )
    return found


def read_file(registry: str, model: str, number: int, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of files of a version, each checked against the manifest.

    Raises:
        FileNotFoundError: no such version, or a file of it is gone.
        ValueError: a name is not in the manifest, or a file's content is another one.
    """
    uri, files = storage.join(registry, model, str(number)), read_manifest(registry, model, number)["files"]
    for name in names:
        if name not in files:
            raise ValueError(f"version {number} of {model} has no {name!r}; it has {', '.join(files)}")
        yield name, _read_checked(storage.join(uri, name), files[name]["sha256"])


def read_objects(registry: str, model: str, number: int, *names: str) -> list[dict[str, Any]]:
    """JSON objects that lie beside the SavedModel, by names such as `metrics.json`.

    Raises:
        FileNotFoundError, ValueError: as `read`, or a file holds no such object.
    """
    found = read_file(registry, model, number, [f"{EXTRA_ASSETS}/{name}" for name in names])
    return [
        json_io.parse_json_object(content, f"{name} of version {number}")
        for name, (_, content) in zip(names, found, strict=True)
    ]


def fetch_version(registry: str, model: str, number: int, names: Iterable[str], folder: Path) -> None:
    """Copies files of a version to the same names below `folder`; raises what `read` raises."""
    for name, content in read_file(registry, model, number, names):
        storage.write_bytes(str(folder / name), content)


def verify_version(registry: str, model: str, number: int) -> dict[str, Any]:
    """Checks every file of a version against its manifest, which is returned.

    Raises:
        FileNotFoundError: no such version, or a file of it is gone.
        ValueError: a file's content is another one, or there is a file that the manifest does not know.
    """
    uri, found = storage.join(registry, model, str(number)), read_manifest(registry, model, number)
    strangers = {entry.name for entry in files_below(uri)} - {MANIFEST, *found["files"]}
    if strangers:
        raise ValueError(f"{uri} must hold the files of its manifest alone, got {', '.join(sorted(strangers))} too")
    for name, expected in found["files"].items():
        _read_checked(storage.join(uri, name), expected["sha256"])
    return found


def files_below(uri: str) -> list[storage.ObjectInfo]:
    """Every file of a part of the registry; none where nobody has written yet."""
    try:
        return list(storage.list_files(uri))
    except FileNotFoundError:
        return []


def _write_on_disk(version: Path, files: dict[str, Path], facts: dict[str, Any]) -> None:
    draft = version.with_name(f".{version.name}-{secrets.token_hex(8)}")
    try:
        _write(str(draft), files, facts)
        draft.rename(version)  # fails where another attempt was quicker
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not _exists(str(version)):
            raise
    for left in version.parent.glob(f".{version.name}-*"):  # of attempts that were killed, or come too late
        shutil.rmtree(left, ignore_errors=True)


def _write(uri: str, files: dict[str, Path], facts: dict[str, Any]) -> None:
    checks = {}
    for name in sorted(files.keys() - {COMMIT_MARKER}):
        content = files[name].read_bytes()
        checks[name] = _check(content)
        storage.write_bytes(storage.join(uri, name), content)
    last = files[COMMIT_MARKER].read_bytes()
    checks[COMMIT_MARKER] = _check(last)
    storage.write_bytes(storage.join(uri, MANIFEST), with_own_digest({**facts, "files": checks}))
    storage.write_bytes(storage.join(uri, COMMIT_MARKER), last)


def with_own_digest(facts: dict[str, Any]) -> bytes:
    """The manifest: the facts, behind the SHA-256 of the file, computed while UNSTATED stands in its place."""
    content = json.dumps({"sha256": SHA256_PLACEHOLDER, **facts}, indent=2).encode()
    return content.replace(SHA256_PLACEHOLDER.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


def _matches_own_digest(content: bytes, stated: str) -> bool:
    unstated = content.replace(stated.encode(errors="replace"), SHA256_PLACEHOLDER.encode(), 1)
    return hashlib.sha256(unstated).hexdigest() == stated


def _check(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _read_checked(uri: str, sha256: str) -> bytes:
    content = storage.read_bytes(uri)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{uri} must have SHA-256 {sha256}, got {found}")
    return content


def _exists(uri: str) -> bool:
    return all(storage.exists(storage.join(uri, name)) for name in (MANIFEST, COMMIT_MARKER))
