"""Pseudonyms: keyed hashes of ids, and URIs that do not reveal file names.

The key is the environment variable RADIOGRAFT_SALT, not a setting, because the KFP UI displays the parameters of a run.
All pods of a run need the same key. The same key results in the same hashes in every run and on every machine, so that
patients stay in their splits and the fingerprint of the data does not change.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Iterator, Sequence

from radiograft import storage
from radiograft.storage import archive, npz_archive
from radiograft.utils.errors import SensitiveValueError

SALT_VARIABLE = "RADIOGRAFT_SALT"
DIGITS = 20  # 80 bits: the probability of a collision among a million names is below 1e-12
PSEUDONYMOUS_URI = re.compile(r"(?P<folder>.+)/#[0-9a-f]{20}")
WEB_URI = re.compile(r"(?<!dicomweb\+)https?://\S*")  # URL of an object, in messages of client libraries


def has_salt() -> bool:
    """Returns whether a key is set. Without one, hashes can be reversed by guessing names."""
    return bool(os.environ.get(SALT_VARIABLE))


def pseudonymize(name: str) -> str:
    """Returns the first 80 bits of the name's HMAC-SHA-256 (RFC 2104) in hexadecimal."""
    salt = os.environ.get(SALT_VARIABLE, "").encode()
    return hmac.new(salt, name.encode(), hashlib.sha256).hexdigest()[:DIGITS]


def pseudonymous_uri(folder: str, uri: str) -> str:
    """Returns a URI without the file's name or path below the folder: `gs://bucket/data/#0123456789abcdef0123`.

    URIs of archive members and array rows are returned unchanged, because they contain only a number.
    """
    if archive.MEMBER_URI.fullmatch(uri) or npz_archive.ROW_URI.fullmatch(uri):
        return uri
    return f"{folder}/#{pseudonymize(uri.removeprefix(folder))}"


def resolve_uris(uris: Sequence[str]) -> list[str]:
    """Resolves pseudonymous URIs, listing each folder once. URIs of missing files and other URIs are kept."""
    files = {
        pseudonymous_uri(folder, entry.uri): entry.uri
        for folder in private_folders(uris)
        for entry in storage.list_files(folder)
    }
    return [files.get(uri, uri) for uri in uris]


def private_folders(uris: Iterable[str]) -> set[str]:
    """Returns the folders of the pseudonymous URIs."""
    return {match["folder"] for match in map(PSEUDONYMOUS_URI.fullmatch, uris) if match}


@contextlib.contextmanager
def redact_names(folders: Iterable[str]) -> Iterator[None]:
    """Removes names of files below these folders from OSErrors and SensitiveValueErrors raised inside the context.

    The cause of the error is dropped as well. Without folders, errors are raised unchanged.
    """
    folders = [folder.rstrip("/") for folder in folders]
    try:
        yield
    except (OSError, SensitiveValueError) as error:
        if not folders:
            raise
        raise _redacted(error, folders) from None


def _redacted(error: OSError | SensitiveValueError, folders: Iterable[str]) -> OSError | ValueError:
    if isinstance(error, SensitiveValueError):
        return ValueError(error.nameless)
    if error.errno is not None:
        return type(error)(error.errno, error.strerror)
    text = WEB_URI.sub("...", str(error))
    for folder in folders:
        text = re.sub(rf"(?s)({re.escape(folder)})/.*", r"\1/...", text)  # names may contain spaces: drop the rest
    return type(error)(text)
