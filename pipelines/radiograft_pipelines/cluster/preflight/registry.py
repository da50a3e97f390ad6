"""Whether a registry can be written to, and refuses a write that is not up to date, seen from this machine."""

from __future__ import annotations

import uuid

from radiograft import storage
from radiograft.storage import conditional_write
from radiograft_pipelines.cluster.preflight.checks import Finding

OURS = "with this machine's credentials; pods use their service account's"


def registry(place: str) -> Finding:
    """Writes a small file below the registry and writes it again against a state that it no longer has."""
    uri = storage.join(place, "_doctor", uuid.uuid4().hex)
    try:
        try:
            return _races(place, uri)
        finally:
            storage.delete(uri)
    except Exception as error:  # whatever the store's client raises is the finding
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Finding(
            "bad", f"the registry {place} is not writable, {OURS}: {text}", "grant read, write and delete there"
        )


def _races(place: str, uri: str) -> Finding:
    conditional_write.swap(uri, b"first", None)
    token = conditional_write.read(uri).token
    conditional_write.swap(uri, b"second", token)
    for stale in (None, token):
        try:
            conditional_write.swap(uri, b"third", stale)
        except FileExistsError:
            continue
        return Finding(
            "bad",
            f"the registry {place} let a write through that was not up to date: racing runs could share a version",
            "use a store with conditional writes: gs://, or S3 with If-Match and If-None-Match",
        )
    return Finding("good", f"the registry {place} is writable and compares before it swaps, {OURS}")
