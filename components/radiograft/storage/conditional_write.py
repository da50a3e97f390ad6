"""A small file that several writers change: read with a token, replaced only while the token still fits.

In gs:// the token is the object's generation. In s3:// and on disk it comes from the content, so that one that comes
back would go unnoticed: write what grows.
"""

from __future__ import annotations

from typing import NamedTuple

from radiograft import storage


class Found(NamedTuple):
    """A file's content and the token of that content."""

    content: bytes
    token: str


def read(uri: str) -> Found:
    """The content with its token.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return Found(*storage.store(uri).read_with_token(uri))


def swap(uri: str, content: bytes, token: str | None) -> None:
    """Replaces what `token` was read with; of racing writers with the same token exactly one succeeds.

    Args:
        content: what no other writer writes, by an id or a time in it: a request whose answer was lost is known by it.
        token: from `read`; None where there was no file.

    Raises:
        FileExistsError: the file is another one by now, or there is one where there was none.
    """
    try:
        storage.store(uri).swap(uri, content, token)
    except FileExistsError:
        if not _holds(uri, content):
            raise


def _holds(uri: str, content: bytes) -> bool:
    """Whether the content is there: the client repeats a request whose answer was lost, and meets its own work."""
    try:
        return read(uri).content == content
    except FileNotFoundError:
        return False
