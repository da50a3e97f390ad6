"""What became of each row of a shard, beside the images: how duplicates are found and defects counted later."""

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
        ("mode", pa.string()),  # as Pillow names it; empty where nothing could be read
        ("pixels", pa.int64()),  # of the file; 0 where it is not stored
        ("reasons", pa.list_(pa.string())),  # why it is not stored, or what speaks against it
        ("hash", pa.uint64()),  # see validation.looks; 0 where it is not stored
        ("thumbnail", pa.binary()),
    ]
)


class RowStatus(NamedTuple):
    """An image's mode, why it was not stored or what speaks against it, and, where it was stored, how it looks and how
    many pixels its file has."""

    mode: str
    reasons: tuple[str, ...]
    look: ImageCheck | None = None
    pixels: int = 0


def write(path: Path, image_ids: Iterable[str], outcomes: Sequence[RowStatus]) -> None:
    """Writes the outcomes of a shard's rows, in their order; the file appears whole."""
    looks = [outcome.look for outcome in outcomes]
    frame = pd.DataFrame(
        {
            "image_id": list(image_ids),
            "stored": [look is not None for look in looks],
            "mode": [outcome.mode for outcome in outcomes],
            "pixels": [outcome.pixels for outcome in outcomes],
            "reasons": [list(outcome.reasons) for outcome in outcomes],
            "hash": np.array([look.hash if look else 0 for look in looks], "uint64"),
            "thumbnail": [look.thumbnail.tobytes() if look else b"" for look in looks],
        }
    )
    with atomic_write(path) as draft:
        frame.to_parquet(draft, index=False, schema=SCHEMA)


def read(paths: Iterable[Path]) -> pd.DataFrame:
    """The outcomes of several shards, one after the other; columns as in SCHEMA."""
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def by_reason(outcomes: pd.DataFrame) -> dict[str, pd.Series[bool]]:
    """Which rows have each reason."""
    found = outcomes["reasons"].explode().dropna()
    return {
        str(reason): pd.Series(outcomes.index.isin(found.index[found == reason]), index=outcomes.index)
        for reason in sorted(found.unique())
    }


def thumbnails(outcomes: pd.DataFrame) -> np.ndarray:
    """Those of stored images, uint8 [images, SIDE, SIDE]."""
    return np.frombuffer(b"".join(outcomes["thumbnail"]), "uint8").reshape(-1, SIDE, SIDE)
