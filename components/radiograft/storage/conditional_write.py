"""Compare-and-swap of a small file that several processes update.

A read returns the content and a token; a write succeeds only while that token is current. In `gs://` the token is the
object's generation. In `s3://` and on disk it is a content hash, so an A-B-A change is not detected: write append-only
content.
"""

from __future__ import annotations

from typing import NamedTuple

from radiograft import storage


class VersionedContent(NamedTuple):
    """The content of a file and its token."""

    content: bytes
    token: str


def read_versioned(uri: str) -> VersionedContent:
    """Reads a file with its token.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    return VersionedContent(*storage.backend_for(uri).read_with_token(uri))


def swap_content(uri: str, content: bytes, token: str | None) -> None:
    """Replaces a file if its token is still current. Exactly one of several writers with the same token succeeds.

    Args:
        content: must be unique to this writer, for example by an id or a time. A retry after a lost response recognizes
            its own write by it.
        token: from `read_versioned`; None if the file did not exist.

    Raises:
        FileExistsError: the file changed or was created since.
    """
    try:
        storage.backend_for(uri).swap(uri, content, token)
    except FileExistsError:
        if not _has_content(uri, content):
            raise


def _has_content(uri: str, content: bytes) -> bool:
    """Returns whether the file has this content: a retry after a lost response finds its own write."""
    try:
        return read_versioned(uri).content == content
    except FileNotFoundError:
        return False
