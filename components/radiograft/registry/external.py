"""Records of external evaluations: `<registry>/<model>/external/<version>/<name>.json`.

A version never changes, so what is measured later lies beside it. A record never changes either. Its files are written
first, to a folder that no other writer uses. The record lists them with their SHA-256 and is created last, only if it
is absent: of several writers one succeeds, and a killed one leaves only a folder that no record names.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from radiograft import storage
from radiograft.registry import generators, versions
from radiograft.registry.result_types import Estimate
from radiograft.utils import json_io
from radiograft.utils.text import check_record_name

FOLDER = "external"


class ExternalRecord(NamedTuple):
    """Summary of one external evaluation; its files lie in the folder `folder` beside the record.

    `auroc`, `internal` and `loss` are means over the labels that are estimable on the external set and on the version's
    test split. `files` holds SHA-256 and size by name.
    """

    name: str
    version: int
    created: str
    source: str
    labels: Sequence[str]
    n_images: int
    n_patients: int
    auroc: Estimate
    internal: Estimate
    loss: Estimate
    folder: str
    files: Mapping[str, Mapping[str, Any]]


def write_record(registry: str, model: str, summary: Mapping[str, Any], files: Mapping[str, bytes]) -> ExternalRecord:
    """Records an external evaluation of an existing version.

    Args:
        summary: the fields of `ExternalRecord` except `folder` and `files`.
        files: content by name.

    Raises:
        FileExistsError: the version has a record of this name.
        FileNotFoundError: the version does not exist.
        ValueError: the name is invalid.
    """
    name, number = summary["name"], summary["version"]
    check_new_record(registry, model, number, name)
    folder = f"{name}-{secrets.token_hex(8)}"
    checks = {
        file: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for file, content in files.items()
    }
    record = ExternalRecord(**summary, folder=folder, files=checks)
    for file, content in files.items():
        storage.write_bytes(_uri(registry, model, number, folder, file), content)
    try:
        content = json.dumps(record._asdict(), indent=2, allow_nan=False).encode()
        storage.swap_content(_record_uri(registry, model, number, name), content, None)
    except FileExistsError:
        storage.delete_tree(_uri(registry, model, number, folder))
        raise _exists_error(number, name) from None
    return record


def check_new_record(registry: str, model: str, number: int, name: str) -> None:
    """Checks that a record can be written, before hours of evaluation. Raises as `write_record`."""
    check_record_name("name", name)
    generators.check_classifier(registry, model, number)
    if storage.exists(_record_uri(registry, model, number, name)):
        raise _exists_error(number, name)


def read_records(registry: str, model: str, number: int) -> list[ExternalRecord]:
    """Returns all records of a version, sorted by name.

    Raises:
        ValueError: a record is malformed.
    """
    entries = versions.files_below(_uri(registry, model, number))
    uris = [entry.uri for entry in entries if "/" not in entry.name and entry.name.endswith(".json")]
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        return list(pool.map(_read, uris))


def verify_records(registry: str, model: str, number: int) -> int:
    """Verifies the files of all records of a version and returns their number.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the content of a file does not match its record, or a record is malformed.
    """
    records = read_records(registry, model, number)
    for record in records:
        for file, expected in record.files.items():
            uri = file_uri(registry, model, record, file)
            digest = hashlib.sha256(storage.read_bytes(uri)).hexdigest()
            if digest != expected["sha256"]:
                raise ValueError(f"{uri} must have SHA-256 {expected['sha256']}, got {digest}")
    return sum(len(record.files) for record in records)


def file_uri(registry: str, model: str, record: ExternalRecord, file: str) -> str:
    """Returns the URI of a file of a record."""
    return _uri(registry, model, record.version, record.folder, file)


def unmet_minimums(records: Sequence[ExternalRecord], minimums: Mapping[str, float]) -> list[str]:
    """Returns the external sets that speak against promotion, each with its reason as a clause.

    Args:
        records: those of one version.
        minimums: `gate_external`: the AUROC that the whole 95% interval must exceed, by external set.
    """
    by_name = {record.name: record for record in records}
    reasons = []
    for name, minimum in minimums.items():
        if name not in by_name:
            reasons.append(f"no external evaluation {name} is recorded")
            continue
        auroc = by_name[name].auroc
        if auroc["low"] is None:
            reasons.append(f"the AUROC on {name} has no confidence interval: more patients are needed")
        elif auroc["low"] <= minimum:
            interval = f"{auroc['low']:.3f} to {auroc['high']:.3f}"
            reasons.append(f"the 95% interval of the AUROC on {name} must lie above {minimum:g}, and is {interval}")
    return reasons


def _read(uri: str) -> ExternalRecord:
    try:
        record = ExternalRecord(**json_io.parse_json_object(storage.read_bytes(uri), uri))
        if not {"value", "low", "high"} <= record.auroc.keys() & record.internal.keys() & record.loss.keys():
            raise TypeError("an estimate lacks its bounds")
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{uri} must contain {', '.join(ExternalRecord._fields)}, got: {error}") from error
    return record


def _exists_error(number: int, name: str) -> FileExistsError:
    return FileExistsError(
        f"version {number} already has an external evaluation {name}, which is never replaced: choose another --name"
    )


def _record_uri(registry: str, model: str, number: int, name: str) -> str:
    return _uri(registry, model, number, f"{name}.json")


def _uri(registry: str, model: str, number: int, *parts: str) -> str:
    return storage.join(registry, model, FOLDER, str(number), *parts)
