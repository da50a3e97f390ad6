"""Reads the metrics of a run from KFP's metadata store, through the UI's gRPC-Web proxy.

KFP's REST API does not return them. The messages are those of ml-metadata's `metadata_store.proto`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import requests

METHOD = "ml_metadata.MetadataStoreService/GetArtifactsByType"
TYPE = b"system.Metrics"
FRAME = struct.Struct(">BI")  # flags and length
TIMEOUT_SECONDS = 30
# Numbers of fields: of the response, of an artifact, and of an entry in a map.
ARTIFACTS, URI, CUSTOM_PROPERTIES, KEY = 1, 3, 5, 1
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def metrics_of_run(host: str, run_id: str) -> set[str] | None:
    """Returns the names of all metrics that a run logged; None if the metadata store cannot be reached at this host."""
    query = bytes([1 << 3 | BYTES, len(TYPE)]) + TYPE
    headers = {"Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1"}
    body = FRAME.pack(0, len(query)) + query
    response = requests.post(f"{host.rstrip('/')}/{METHOD}", data=body, headers=headers, timeout=TIMEOUT_SECONDS)
    if "grpc-web" not in response.headers.get("Content-Type", ""):
        return None
    _, length = FRAME.unpack_from(response.content)
    return metric_names(response.content[FRAME.size : FRAME.size + length], run_id)


def metric_names(response: bytes, run_id: str) -> set[str]:
    """Returns the names of the metrics in a `GetArtifactsByTypeResponse` whose artifacts belong to a run."""
    names: set[str] = set()
    for artifact in (list(fields(value)) for number, value in fields(response) if number == ARTIFACTS):
        if any(number == URI and run_id in value.decode() for number, value in artifact):
            entries = [dict(fields(value)) for number, value in artifact if number == CUSTOM_PROPERTIES]
            names |= {entry[KEY].decode() for entry in entries}
    return names - {"display_name"}


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the number and the content of the fields of a protobuf message; empty content for integers."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            length, (_, position) = 0, _varint(message, position)
        elif kind == BYTES:
            length, position = _varint(message, position)
        else:
            length = {FIXED64: 8, FIXED32: 4}[kind]
        yield number, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Returns an integer, and the position after it."""
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
