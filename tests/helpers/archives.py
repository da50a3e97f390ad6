"""Creates .npz, .zip and .tar.gz archives for tests."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping

import numpy as np

from radiograft import storage


def packed(**arrays: np.ndarray) -> bytes:
    """Returns the bytes of an archive with these arrays."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def pack(uri: str, **arrays: np.ndarray) -> str:
    """Writes an archive with these arrays and returns its URI."""
    storage.write_bytes(uri, packed(**arrays))
    return uri


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Returns a .zip archive with entries for all folders, followed by the files, like `tar_gz`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in sorted({name.rpartition("/")[0] for name in files} - {""}):
            archive.mkdir(folder)
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def tar_gz(files: Mapping[str, bytes]) -> bytes:
    """Returns the bytes of an archive with entries for all folders, followed by the files, like NIH's archives."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for folder in sorted({name.rpartition("/")[0] for name in files} - {""}):
            member = tarfile.TarInfo(folder)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(content.getvalue(), mtime=0)
