"""Read-only storage backend for DICOMweb services, such as a hospital's PACS (DICOM PS3.18).

QIDO-RS lists the studies and their instances; WADO-RS fetches an instance as it is stored. The token is the MD5 hash of
the content.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, Any, NoReturn

from dicomweb_client.web import DICOMwebClient

from radiograft.storage import backend
from radiograft.storage.backend import UNKNOWN_SIZE, ObjectInfo, StorageError
from radiograft.storage.dicomweb_session import no_service_error, send
from radiograft.storage.dicomweb_uri import ObjectUids, parse_object, parse_service

MODALITIES = frozenset({"CR", "DX", "RG"})  # of radiographs
PAGE = 1000  # results per search
PARALLEL_SEARCHES = 8
STUDY, SERIES, INSTANCE, MODALITY, MODALITIES_IN_STUDY = "0020000D", "0020000E", "00080018", "00080060", "00080061"
# Without transfer-syntax=*, a service converts the pixels to Explicit VR Little Endian.
AS_STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
Result = dict[str, dict[str, Any]]  # in the DICOM JSON model: elements by tag
Search = Callable[..., list[Result]]  # a method of the client

log = logging.getLogger("radiograft")


def exists(uri: str) -> bool:
    """Returns whether an instance exists."""
    try:
        read_bytes(uri)
    except FileNotFoundError:
        return False
    return True


def read_bytes(uri: str) -> bytes:
    """Reads an instance as it is stored."""
    uids = parse_object(uri)
    if uids is None:
        raise backend.missing_error(uri)
    return send(uids.root, lambda client: _retrieve(client, uids), uri)


def read_with_token(uri: str) -> tuple[bytes, str]:
    """Reads an instance and its MD5 hash."""
    content = read_bytes(uri)
    return content, hashlib.md5(content, usedforsecurity=False).hexdigest()


def open_file(uri: str) -> IO[bytes]:
    """Reads an instance into memory, since services need not support ranges."""
    return io.BytesIO(read_bytes(uri))


def write_bytes(uri: str, data: bytes, only_if_absent: bool) -> None:  # noqa: ARG001  the interface of a backend
    """Raises StorageError."""
    _refuse_to_write()


def swap(uri: str, content: bytes, token: str | None) -> None:  # noqa: ARG001
    """Raises StorageError."""
    _refuse_to_write()


def delete(uri: str) -> None:  # noqa: ARG001
    """Raises StorageError."""
    _refuse_to_write()


def _refuse_to_write() -> NoReturn:
    raise StorageError("dicomweb:// is only read, never written: choose a folder, gs:// or s3://")


def list_files(uri: str) -> Iterator[ObjectInfo]:
    """Lists the radiographs of all studies, named STUDY/SERIES/INSTANCE by their UIDs; sizes are unknown.

    Raises:
        FileNotFoundError: no study has a radiograph.
    """
    root = uri.rstrip("/")
    studies = _search(
        root, partial(DICOMwebClient.search_for_studies, search_filters=parse_service(root).filters), STUDY
    )
    chosen = [_text(study, STUDY) for study in studies if _is_radiograph(study, MODALITIES_IN_STUDY)]
    log.info("%d of %d studies have images of the modalities CR, DX or RG", len(chosen), len(studies))
    with ThreadPoolExecutor(PARALLEL_SEARCHES) as pool:
        found = sorted(entry for entries in pool.map(partial(_list_study, root), chosen) for entry in entries)
    if not found:
        raise FileNotFoundError(
            f"data_source must be a DICOMweb service with radiographs (CR, DX or RG), got {len(studies)} studies "
            "without; check its filters, and what the user may read"
        )
    yield from found


def _list_study(root: str, study: str) -> list[ObjectInfo]:
    search = partial(DICOMwebClient.search_for_instances, study_instance_uid=study, fields=[MODALITY])
    instances = _search(root, search, INSTANCE)
    names = [
        f"{study}/{_text(instance, SERIES)}/{_text(instance, INSTANCE)}"
        for instance in instances
        if _is_radiograph(instance, MODALITY)
    ]
    if not all(parse_object(f"{root}/{name}") for name in names):
        raise no_service_error(root)
    return [ObjectInfo(name, f"{root}/{name}", UNKNOWN_SIZE, None) for name in names]


def _search(root: str, search: Search, key: str) -> list[Result]:
    """Returns all results of a search, each once by the UID `key`.

    The modality is not part of a search: Orthanc 1.10 counts the studies of a page before it filters them, and loses
    some. A service that ignores `offset` repeats its results, which ends the search.
    """
    found: dict[str, Result] = {}
    offset = 0
    while True:
        results = send(root, partial(search, limit=PAGE, offset=offset))
        if not _is_results(results, key):
            raise no_service_error(root)
        new = {_text(item, key): item for item in results if _text(item, key) not in found}
        if not new:
            return list(found.values())
        found |= new
        offset += len(results)


def _is_results(results: object, key: str) -> bool:
    return isinstance(results, list) and all(isinstance(item, dict) and _text(item, key) for item in results)


def _values(item: Result, tag: str) -> list[str]:
    """Returns the values of an attribute in the DICOM JSON model."""
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [str(value).strip() for value in values] if isinstance(values, list) else []


def _text(item: Result, tag: str) -> str:
    return next(iter(_values(item, tag)), "")


def _is_radiograph(item: Result, tag: str) -> bool:
    """Returns whether a modality is that of radiographs, or is not stated, so that the file decides."""
    values = _values(item, tag)
    return not values or not MODALITIES.isdisjoint(values)


def _retrieve(client: DICOMwebClient, uids: ObjectUids) -> bytes:
    """Returns the bytes of an instance, which the client's own `retrieve_instance` parses and then drops."""
    url = f"{client.base_url}/studies/{uids.study}/series/{uids.series}/instances/{uids.instance}"
    response = client._http_get(url, headers=dict(AS_STORED), stream=True)
    with response:
        if response.headers.get("Content-Type", "").lower().startswith("application/dicom"):
            return bytes(response.content)
        parts = list(client._decode_multipart_message(response, stream=True))
    if len(parts) != 1:
        raise ValueError(f"{len(parts)} parts instead of one")
    return bytes(parts[0])
