"""What needs no TensorFlow in a folder of shards: how files appear in it, and what describes them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from radiograft.config.augmentation import Augmentation
from radiograft.data.catalog import no_boxes

SUFFIX = ".tfrecord"
# A record is its length, a checksum of that, its content and a checksum of that, as TensorFlow's record_writer.h says.
LENGTH = struct.Struct("<Q")
CHECKSUM_BYTES = 4


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A draft beside a file that takes its place when it is whole: whoever looks sees all of it or nothing."""
    draft = path.with_name(f".draft-{path.name}")
    yield draft
    draft.replace(path)


def copy_records(source: Path, target: Path, keep: Sequence[bool]) -> None:
    """Copies a TFRecord file without the records that are not to be kept; the copy appears whole.

    Raises:
        ValueError: the file has another number of records than `keep` speaks of.
    """
    with appearing(target) as draft:
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
