"""Creates .npz and .zip archives for tests."""

from __future__ import annotations

import io
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
    """Returns a .zip archive with entries for all folders, followed by the files, like `tar_files.tar_gz`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in sorted({name.rpartition("/")[0] for name in files} - {""}):
            archive.mkdir(folder)
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()
