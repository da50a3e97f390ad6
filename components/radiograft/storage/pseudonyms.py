"""Names that tell nobody's name: keyed hashes of ids, and addresses of files that tell no file name.

The key is the environment variable RADIOGRAFT_SALT, not a setting, because whoever sees a run sees its parameters. The
same key gives the same hashes in every run and on every machine, so that patients stay in their splits and the
fingerprint stays the same; all pods of a run need the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Iterator, Sequence

from radiograft import storage
from radiograft.storage import npz_archive, tar_archive
from radiograft.utils.errors import SensitiveValueError

SALT_VARIABLE = "RADIOGRAFT_SALT"
DIGITS = 20  # 80 bits: of a million names two have the same hash with a probability below 1e-12
PSEUDONYMOUS_URI = re.compile(r"(?P<folder>.+)/#[0-9a-f]{20}")
WEB_URI = re.compile(r"https?://\S*")  # of an object, in what a client library says


def has_salt() -> bool:
    """Whether there is a key; without one, hashes can be told by whoever guesses what was hashed."""
    return bool(os.environ.get(SALT_VARIABLE))


def pseudonymize(name: str) -> str:
    """The name's HMAC-SHA-256 (RFC 2104) in hexadecimal, its first 80 bits."""
    salt = os.environ.get(SALT_VARIABLE, "").encode()
    return hmac.new(salt, name.encode(), hashlib.sha256).hexdigest()[:DIGITS]


def pseudonymous_uri(folder: str, uri: str) -> str:
    """A URI for a file at any depth below a folder that does not tell its name: `gs://bucket/data/#0123456789abcdef0123`.

    A member of an archive or a row of an array keeps its URI, in which it is a number already.
    """
    if tar_archive.MEMBER_URI.fullmatch(uri) or npz_archive.ROW_URI.fullmatch(uri):
        return uri
    return f"{folder}/#{pseudonymize(uri.removeprefix(folder))}"


def resolve_uris(uris: Sequence[str]) -> list[str]:
    """The files' own URIs, for which each folder is listed once; what is gone, or no such address, stays as it is."""
    files = {
        pseudonymous_uri(folder, entry.uri): entry.uri
        for folder in private_folders(uris)
        for entry in storage.list_files(folder)
    }
    return [files.get(uri, uri) for uri in uris]


def private_folders(uris: Iterable[str]) -> set[str]:
    """The folders whose files' names some of the URIs do not tell."""
    return {match["folder"] for match in map(PSEUDONYMOUS_URI.fullmatch, uris) if match}


@contextlib.contextmanager
def redact_names(folders: Iterable[str]) -> Iterator[None]:
    """Lets errors pass without the name of a file or folder below these folders, and so without what led to them.

    That is an OSError, whose text is cut off, or a NamingError, which knows what to say; without folders all pass as
    they are.
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
        text = re.sub(rf"(?s)({re.escape(folder)})/.*", r"\1/...", text)  # a name may hold spaces: all that follows
    return type(error)(text)
