"""From files to decoded, resized images: against a loop and a process pool of Pillow, and against inflating alone."""

from __future__ import annotations

import os
import statistics
import struct
import zlib
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from radiograft.data.catalog import Catalog
from radiograft.data.image_loader import decode_rows
from radiograft.training import devices
from tests.benchmarks import large_films
from tests.benchmarks.films import SIDE
from tests.benchmarks.row import Row
from tests.benchmarks.timing import seconds

TURNS = 3
CORES = len(os.sched_getaffinity(0))
PIECE = 8  # files that a process of the pool gets at a time
OTHERS = {  # with the floor of each
    "loop": (1.8, "one loop of Pillow's decode and resize"),
    "pool": (1.0, f"the same in a pool of {CORES} processes, already started"),
    "inflate": (None, f"zlib.decompress of the same streams, already read, in {CORES} threads; a limit"),
}


def measure(work: Path) -> list[Row]:
    """Images a second of all four, which take turns. Only ours compares each file with its hash."""
    folder, spawn = large_films.catalog(work), get_context("spawn")
    files = list(Catalog.read(folder).rows["uri"])
    streams = [_compressed(Path(file).read_bytes()) for file in files]
    with (
        ProcessPoolExecutor(1, spawn, initializer=devices.share_cores_by_image) as stage,  # as preprocess is one
        ProcessPoolExecutor(CORES, spawn) as processes,
        ThreadPoolExecutor(CORES) as threads,
    ):
        stage.submit(_ours, folder).result()  # starts it; the next line the others
        _pool(processes, files)

        def turn() -> dict[str, float]:
            return {
                "ours": seconds(lambda: stage.submit(_ours, folder).result()),
                "loop": seconds(lambda: [decode(file) for file in files]),
                "pool": seconds(lambda: _pool(processes, files)),
                "inflate": seconds(lambda: list(threads.map(zlib.decompress, streams))),
            }

        turns = [turn() for _ in range(TURNS)]
    rates = {name: len(files) / statistics.median(taken[name] for taken in turns) for name in turns[0]}
    how = f"{len(files)} {large_films.NAME}, to {SIDE} px, median of {TURNS}. Ours: decode_rows. Theirs: "
    return [
        Row.rate(f"decoding, {name}", rates["ours"], rates[name], floor=floor, how=f"{how}{told}.")
        for name, (floor, told) in OTHERS.items()
    ]


def decode(file: str) -> np.ndarray:
    """One image as a Pillow user prepares it, uint8 [SIDE, SIDE]."""
    with Image.open(file) as image:
        return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _ours(folder: Path) -> int:
    return sum(each.image is not None for each in decode_rows(Catalog.read(folder).rows, SIDE))


def _pool(processes: Executor, files: list[str]) -> list[np.ndarray]:
    return list(processes.map(decode, files, chunksize=PIECE))


def _compressed(content: bytes) -> bytes:
    """The compressed stream of a PNG, of which its chunks hold parts."""
    place, parts = 8, []
    while place < len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        parts += [content[place + 8 : place + 8 + length]] * (kind == b"IDAT")
        place += length + 12
    return b"".join(parts)
