"""Files in a folder of shards, without TensorFlow: atomic writes, shard layout and description."""

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
from radiograft.storage import archive, npz_archive

RECORDS_SUFFIX = ".tfrecord"
# A record consists of its length, the checksum of the length, its content and the checksum of the content (see
# TensorFlow's record_writer.h).
LENGTH = struct.Struct("<Q")
CHECKSUM_BYTES = 4

IMAGES_PER_SHARD = 512


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path that replaces `path` on success, so that readers see the complete file or none."""
    draft = path.with_name(f".draft-{path.name}")
    yield draft
    draft.replace(path)


def copy_records(source: Path, target: Path, keep: Sequence[bool]) -> None:
    """Copies the selected records of a TFRecord file atomically.

    Args:
        source: file to copy.
        target: the copy.
        keep: whether to copy each record.

    Raises:
        ValueError: the number of records differs from the length of `keep`.
    """
    with atomic_write(target) as draft:
        if all(keep):
            shutil.copyfile(source, draft)
            return
        with source.open("rb") as file, draft.open("wb") as copy:
            for record, kept in zip(_read_records(file), keep, strict=True):
                if kept:
                    copy.write(record)


def _read_records(file: Any) -> Iterator[bytes]:
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
    """Writes the files that describe a folder of shards and thereby complete it; shards.json comes last.

    Args:
        folder: folder of the shards.
        rows: rows of the stored images in stored order.
        augmentation: augmentation of training images.
        summary: contents of shards.json, among them `labels` and `image_size`.
        boxes: bounding boxes (see `no_boxes`).
    """
    rows.to_parquet(folder / "rows.parquet", index=False)
    (no_boxes() if boxes is None else boxes).to_parquet(folder / "boxes.parquet", index=False)
    (folder / "augmentation.json").write_text(json.dumps(dataclasses.asdict(augmentation), indent=2))
    (folder / "shards.json").write_text(json.dumps(summary, indent=2))


class Shard(NamedTuple):
    """The name of a shard, which starts with its split, and the catalog rows of its images in stored order."""

    name: str
    rows: pd.DataFrame


def plan_shards(rows: pd.DataFrame) -> list[Shard]:
    """Divides catalog rows into shards, at least one per split, split after split in reading order."""
    shards = []
    for split in SPLITS:
        ordered = sort_for_reading(rows[rows["split"] == split])
        count = max(1, math.ceil(len(ordered) / IMAGES_PER_SHARD))
        for number in range(count):
            part = ordered[number * IMAGES_PER_SHARD : (number + 1) * IMAGES_PER_SHARD]
            shards.append(Shard(f"{split}-{number:05d}-of-{count:05d}", part))
    return shards


def sort_for_reading(rows: pd.DataFrame) -> pd.DataFrame:
    """Sorts rows so that each archive can be read in one pass. Rows of individual files keep their order."""
    keys = [(npz_archive.parse_row_uri(uri), archive.parse_member_uri(uri)) for uri in rows["uri"]]
    return rows.iloc[sorted(range(len(rows)), key=keys.__getitem__)].reset_index(drop=True)


def shards_of_worker(shards: Sequence[Shard], worker: int, workers: int) -> list[Shard]:
    """Returns the shards of one worker. They are consecutive, so that few workers read the same archive.

    The shares of all workers cover all shards, and their sizes differ by at most one.

    Args:
        shards: all shards.
        worker: number of the worker, from 0.
        workers: number of workers.

    Raises:
        ValueError: `worker` is out of range.

    Example:
        >>> shards_of_worker(["a", "b", "c"], worker=1, workers=2)
        ['b', 'c']
    """
    if not 0 <= worker < workers:
        raise ValueError(f"worker must be from 0 to {workers - 1}, got {worker}")
    return list(shards[len(shards) * worker // workers : len(shards) * (worker + 1) // workers])


def layout_digest(shards: Sequence[Shard]) -> str:
    """Returns the SHA-256 of the planned contents of the shards: names, rows in order, and their URIs."""
    text = pd.concat([shard.rows for shard in shards]).to_csv(index=False, lineterminator="\n")
    names = "\n".join(shard.name for shard in shards)
    return hashlib.sha256(f"{names}\n{text}".encode()).hexdigest()
