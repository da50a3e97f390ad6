"""Status of each row of a shard, stored beside the images to find duplicates and count defects later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from radiograft.data.quality.image_checks import SIDE, ImageCheck
from radiograft.data.shards.files import atomic_write

SUFFIX = ".parquet"
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("stored", pa.bool_()),
        ("mode", pa.string()),  # Pillow mode; empty if the file is unreadable
        ("height", pa.int64()),  # upright sides of the image before resizing; 0 if not stored
        ("width", pa.int64()),
        ("reasons", pa.list_(pa.string())),  # why it is not stored, or which defects it may have
        ("hash", pa.uint64()),  # perceptual hash (see image_checks); 0 if not stored
        ("thumbnail", pa.binary()),
    ]
)


class RowStatus(NamedTuple):
    """Status of one row.

    Attributes:
        mode: Pillow mode of the file.
        reasons: why the image is not stored, or which defects a stored image may have.
        look: result of `check_image`; None if the image is not stored.
        height, width: upright sides of the image before resizing; 0 if the image is not stored.
    """

    mode: str
    reasons: tuple[str, ...]
    look: ImageCheck | None = None
    height: int = 0
    width: int = 0


def write(path: Path, image_ids: Iterable[str], statuses: Sequence[RowStatus]) -> None:
    """Writes the status of a shard's rows, in their order, to a Parquet file atomically."""
    checks = [status.look for status in statuses]
    frame = pd.DataFrame(
        {
            "image_id": list(image_ids),
            "stored": [check is not None for check in checks],
            "mode": [status.mode for status in statuses],
            "height": [status.height for status in statuses],
            "width": [status.width for status in statuses],
            "reasons": [list(status.reasons) for status in statuses],
            "hash": np.array([check.hash if check else 0 for check in checks], "uint64"),
            "thumbnail": [check.thumbnail.tobytes() if check else b"" for check in checks],
        }
    )
    with atomic_write(path) as draft:
        frame.to_parquet(draft, index=False, schema=SCHEMA)


def read(paths: Iterable[Path]) -> pd.DataFrame:
    """Reads the status of several shards into one table with the columns of SCHEMA."""
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def by_reason(statuses: pd.DataFrame) -> dict[str, pd.Series[bool]]:
    """Returns which rows have each reason."""
    reasons = statuses["reasons"].explode().dropna()
    return {
        str(reason): pd.Series(statuses.index.isin(reasons.index[reasons == reason]), index=statuses.index)
        for reason in sorted(reasons.unique())
    }


def thumbnails(statuses: pd.DataFrame) -> np.ndarray:
    """Returns the thumbnails of stored images, uint8 [images, SIDE, SIDE, channels]."""
    pixels = np.frombuffer(b"".join(statuses["thumbnail"]), "uint8")
    channels = max(1, len(pixels) // (max(1, len(statuses)) * SIDE**2))
    return pixels.reshape(-1, SIDE, SIDE, channels)
