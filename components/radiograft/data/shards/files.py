"""What needs no TensorFlow in a folder of shards: how files appear in it, and what describes them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import shutil
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from radiograft.config.augmentation import Augmentation
from radiograft.data.catalog import SPLITS, no_boxes
from radiograft.storage import npz_archive, tar_archive

RECORDS_SUFFIX = ".tfrecord"
# A record is its length, a checksum of that, its content and a checksum of that, as TensorFlow's record_writer.h says.
LENGTH = struct.Struct("<Q")
CHECKSUM_BYTES = 4

IMAGES_PER_SHARD = 512


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A draft beside a file that takes its place when it is whole: whoever looks sees all of it or nothing."""
    draft = path.with_name(f".draft-{path.name}")
    yield draft
    draft.replace(path)


def copy_records(source: Path, target: Path, keep: Sequence[bool]) -> None:
    """Copies a TFRecord file without the records that are not to be kept; the copy appears whole.

    Raises:
        ValueError: the file has another number of records than `keep` speaks of.
    """
    with atomic_write(target) as draft:
        if all(keep):
            shutil.copyfile(source, draft)
            return
        with source.open("rb") as file, draft.open("wb") as copy:
            for record, kept in zip(_records(file), keep, strict=True):
                copy.write(record * kept)


def _records(file: Any) -> Iterator[bytes]:
    while head := file.read(LENGTH.size + CHECKSUM_BYTES):
        (length,) = LENGTH.unpack(head[: LENGTH.size])
        yield head + file.read(length + CHECKSUM_BYTES)


def write_description(
    folder: Path,
    rows: pd.DataFrame,
    augmentation: Augmentation,
    summary: dict[str, Any],
    boxes: pd.DataFrame | None = None,
) -> None:
    """Completes a folder of shards; `summary` needs `labels` and `image_size` and may hold more."""
    rows.to_parquet(folder / "rows.parquet", index=False)
    (no_boxes() if boxes is None else boxes).to_parquet(folder / "boxes.parquet", index=False)
    (folder / "augmentation.json").write_text(json.dumps(dataclasses.asdict(augmentation), indent=2))
    (folder / "shards.json").write_text(json.dumps(summary, indent=2))


class Shard(NamedTuple):
    """A shard's name, which begins with its split, and the catalog's rows whose images it holds, in their order."""

    name: str
    rows: pd.DataFrame


def plan_shards(rows: pd.DataFrame) -> list[Shard]:
    """All shards of a catalog's rows, at least one a split, split after split in reading order."""
    found = []
    for split in SPLITS:
        ordered = sort_for_reading(rows[rows["split"] == split])
        count = max(1, math.ceil(len(ordered) / IMAGES_PER_SHARD))
        parts = [ordered[place * IMAGES_PER_SHARD :][:IMAGES_PER_SHARD] for place in range(count)]
        found += [Shard(f"{split}-{place:05d}-of-{count:05d}", part) for place, part in enumerate(parts)]
    return found


def sort_for_reading(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in an order in which images of archives can be read in one pass; files of their own keep theirs."""
    places = [(npz_archive.parse_row_uri(uri), tar_archive.parse_member_uri(uri)) for uri in rows["uri"]]
    return rows.iloc[sorted(range(len(rows)), key=places.__getitem__)].reset_index(drop=True)


def shards_of_worker(shards: Sequence[Shard], worker: int, workers: int) -> list[Shard]:
    """One worker's shards, which follow each other, so that few workers read the same archive.

    Args:
        worker: counted from 0. All workers' shares together are the shards, and differ in size by at most one.

    Raises:
        ValueError: there is no such worker.
    """
    if not 0 <= worker < workers:
        raise ValueError(f"worker must be from 0 to {workers - 1}, got {worker}")
    return list(shards[len(shards) * worker // workers : len(shards) * (worker + 1) // workers])


def layout_digest(shards: Sequence[Shard]) -> str:
    """SHA-256 over what the shards are to hold, in its order, and where it is read from."""
    text = pd.concat([shard.rows for shard in shards]).to_csv(index=False, lineterminator="\n")
    names = "\n".join(shard.name for shard in shards)
    return hashlib.sha256(f"{names}\n{text}".encode()).hexdigest()
