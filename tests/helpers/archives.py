"""Creates .npz archives for tests."""

from __future__ import annotations

import io

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
