"""A small file that several writers change: read with a token, replaced only while the token still fits.

In gs:// the token is the object's generation. In s3:// and on disk it comes from the content, so that one that comes
back would go unnoticed: write what grows.
"""

from __future__ import annotations

from typing import NamedTuple

from radiograft import storage


class VersionedContent(NamedTuple):
    """A file's content and the token of that content."""

    content: bytes
    token: str


def read_versioned(uri: str) -> VersionedContent:
    """The content with its token.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return VersionedContent(*storage.backend_for(uri).read_with_token(uri))


def swap_content(uri: str, content: bytes, token: str | None) -> None:
    """Replaces what `token` was read with; of racing writers with the same token exactly one succeeds.

    Args:
        content: what no other writer writes, by an id or a time in it: a request whose answer was lost is known by it.
        token: from `read`; None where there was no file.

    Raises:
        FileExistsError: the file is another one by now, or there is one where there was none.
    """
    try:
        storage.backend_for(uri).swap(uri, content, token)
    except FileExistsError:
        if not _holds(uri, content):
            raise


def _holds(uri: str, content: bytes) -> bool:
    """Whether the content is there: the client repeats a request whose answer was lost, and meets its own work."""
    try:
        return read_versioned(uri).content == content
    except FileNotFoundError:
        return False
