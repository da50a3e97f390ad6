"""Decoding and resizing files, compared with a Pillow loop, a Pillow process pool, and decompression alone."""

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
from radiograft.imaging.geometry import ImageInput
from radiograft.training import devices
from tests.benchmarks import large_films
from tests.benchmarks.films import SIDE
from tests.benchmarks.row import Row
from tests.benchmarks.timing import seconds

TURNS = 3
CORES = len(os.sched_getaffinity(0))
PIECE = 8  # files per task of the process pool
BASELINES = {  # floor and description
    "loop": (1.8, "a loop of Pillow's decode and resize"),
    "pool": (1.0, f"the same in a running pool of {CORES} processes"),
    "inflate": (None, f"zlib.decompress of the same streams in memory, in {CORES} threads; an upper bound"),
}


def measure(work: Path) -> list[Row]:
    """Measures images per second of all four, interleaved. Only Radiograft also verifies the hash of each file."""
    folder, spawn = large_films.catalog(work), get_context("spawn")
    files = list(Catalog.read(folder).rows["uri"])
    streams = [_compressed(Path(file).read_bytes()) for file in files]
    with (
        ProcessPoolExecutor(1, spawn, initializer=devices.share_cores_by_image) as stage,  # as in preprocess
        ProcessPoolExecutor(CORES, spawn) as processes,
        ThreadPoolExecutor(CORES) as threads,
    ):
        stage.submit(_ours, folder).result()  # starts this process; the next line starts the pool
        _pool(processes, files)

        def turn() -> dict[str, float]:
            return {
                "ours": seconds(lambda: stage.submit(_ours, folder).result()),
                "loop": seconds(lambda: [decode(file) for file in files]),
                "pool": seconds(lambda: _pool(processes, files)),
                "inflate": seconds(lambda: list(threads.map(zlib.decompress, streams))),
            }

        turns = [turn() for _ in range(TURNS)]
    rates = {name: len(files) / statistics.median(times[name] for times in turns) for name in turns[0]}
    how = f"{len(files)} {large_films.NAME}, to {SIDE} px, median of {TURNS}. Ours: decode_rows. Theirs: "
    return [
        Row.rate(f"decoding, {name}", rates["ours"], rates[name], floor=floor, how=f"{how}{description}.")
        for name, (floor, description) in BASELINES.items()
    ]


def decode(file: str) -> np.ndarray:
    """Decodes and resizes one image with Pillow; returns uint8 [SIDE, SIDE]."""
    with Image.open(file) as image:
        return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _ours(folder: Path) -> int:
    return sum(decoded.image is not None for decoded in decode_rows(Catalog.read(folder).rows, ImageInput(SIDE)))


def _pool(processes: Executor, files: list[str]) -> list[np.ndarray]:
    return list(processes.map(decode, files, chunksize=PIECE))


def _compressed(content: bytes) -> bytes:
    """Joins the IDAT chunks of a PNG to its compressed stream."""
    offset, parts = 8, []
    while offset < len(content):
        length, kind = struct.unpack_from(">I4s", content, offset)
        if kind == b"IDAT":
            parts.append(content[offset + 8 : offset + 8 + length])
        offset += length + 12
    return b"".join(parts)
