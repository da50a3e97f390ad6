"""Which picture stands in which shard: decided by the catalogue alone, not by workers, restarts or bad pictures."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from radiograft.data.catalog import SPLITS
from radiograft.storage import npz_archive, tar_archive

PICTURES_A_SHARD = 512


class Shard(NamedTuple):
    """A shard's name, which begins with its split, and the catalogue's rows whose pictures it holds, in their order."""

    name: str
    rows: pd.DataFrame


def layout(rows: pd.DataFrame) -> list[Shard]:
    """All shards of a catalogue's rows, at least one a split, split after split in reading order."""
    found = []
    for split in SPLITS:
        ordered = in_reading_order(rows[rows["split"] == split])
        count = max(1, math.ceil(len(ordered) / PICTURES_A_SHARD))
        parts = [ordered[place * PICTURES_A_SHARD :][:PICTURES_A_SHARD] for place in range(count)]
        found += [Shard(f"{split}-{place:05d}-of-{count:05d}", part) for place, part in enumerate(parts)]
    return found


def in_reading_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in an order in which pictures of archives can be read in one pass; files of their own keep theirs."""
    places = [(npz_archive.place(uri), tar_archive.place(uri)) for uri in rows["uri"]]
    return rows.iloc[sorted(range(len(rows)), key=places.__getitem__)].reset_index(drop=True)


def share(shards: Sequence[Shard], worker: int, workers: int) -> list[Shard]:
    """One worker's shards, which follow each other, so that few workers read the same archive.

    Args:
        worker: counted from 0. All workers' shares together are the shards, and differ in size by at most one.

    Raises:
        ValueError: there is no such worker.
    """
    if not 0 <= worker < workers:
        raise ValueError(f"worker must be from 0 to {workers - 1}, got {worker}")
    return list(shards[len(shards) * worker // workers : len(shards) * (worker + 1) // workers])


def digest(shards: Sequence[Shard]) -> str:
    """SHA-256 over what the shards are to hold, in its order, and where it is read from."""
    text = pd.concat([shard.rows for shard in shards]).to_csv(index=False, lineterminator="\n")
    names = "\n".join(shard.name for shard in shards)
    return hashlib.sha256(f"{names}\n{text}".encode()).hexdigest()
