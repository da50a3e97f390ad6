"""The search for near duplicates, as in preprocess, in a process of its own: processor time and memory by size.

`python -m tests.benchmarks.similar_images` prints a table with the exponents of growth.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy.fft import idctn

from radiograft.data.quality.image_checks import SIDE
from tests.benchmarks import peak
from tests.benchmarks.row import Row

SIZES = (14_000, 56_000, 112_000, 1_000_000)
LIMITS = {112_000: 10.0, 1_000_000: 120.0}  # seconds
REPEATED = 100  # one image of so many is a changed copy of another
PART = 50_000  # images drawn at once
OFFSET = 1.25  # mean of all frequencies in standard deviations: bits are then at least as skewed as of radiographs
HASH_SIDE = 8


def measure(_: Path) -> list[Row]:
    """Measures a search among 112,000 images."""
    return [_row(112_000)]


def measure_million(_: Path) -> list[Row]:
    """Measures a search among a million images."""
    return [_row(1_000_000)]


def _row(count: int) -> Row:
    how = (
        f"{count:,} drawn thumbnails with hashes as skewed as those of radiographs, 1% copies; processor time. "
        "Theirs: the limit."
    )
    name = f"near duplicates among {count:,} images"
    return Row.cost(name, _run("radiographs", count)[0], LIMITS[count], floor=1.0, unit="s", how=how)


def draw(kind: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns hashes, uint64 [n], and thumbnails, uint8 [n, SIDE, SIDE, 1], the last of which are changed copies.

    Args:
        kind: `random` bits and pixels; `radiographs`, whose frequencies fall off and whose lowest are similar; or
            `equal`, which are all the same image.
        count: number of images.
    """
    rng = np.random.default_rng(0)
    parts = [_draw_part(kind, rng, min(PART, count - start)) for start in range(0, count, PART)]
    hashes, thumbnails = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if kind != "equal":
        copies = count // REPEATED
        hashes[-copies:] = hashes[:copies] ^ np.uint64(5)
        thumbnails[-copies:] = thumbnails[:copies] ^ np.uint8(1)
    return hashes, thumbnails


def _draw_part(kind: str, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    if kind == "random":
        thumbnails = rng.integers(0, 256, (count, SIDE, SIDE, 1), dtype="uint8")
        return rng.integers(0, 2**63, count, dtype="uint64"), thumbnails
    if kind == "equal":
        image = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 1), dtype="uint8")
        return np.full(count, 3, "uint64"), np.broadcast_to(image, (count, SIDE, SIDE, 1))
    common = np.random.default_rng(1).normal(0, OFFSET, (SIDE, SIDE))
    spectrum = 1 / (1 + np.add.outer(np.arange(SIDE), np.arange(SIDE)))
    frequencies = (rng.standard_normal((count, SIDE, SIDE)) + common) * spectrum
    low = frequencies[:, :HASH_SIDE, :HASH_SIDE].reshape(count, -1)
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    pixels = idctn(frequencies, axes=(1, 2), norm="ortho")
    thumbnails = np.clip(128 + 200 * pixels, 0, 255).astype("uint8")[..., None]
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype("uint64"), thumbnails


def _run(kind: str, count: int) -> tuple[float, float]:
    """Returns the processor time of the search in seconds and the peak memory of its process in MB."""
    command = [sys.executable, "-m", "tests.benchmarks.similar_images", kind, str(count)]
    seconds, megabytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(megabytes)


def _search(kind: str, count: int) -> float:
    from radiograft.data.quality.similar_images import find_similar_images

    hashes, thumbnails = draw(kind, count)
    start = time.process_time()
    find_similar_images(hashes, thumbnails)
    return time.process_time() - start


def _print_table() -> None:
    print("| images | random hashes | hashes as of radiographs | all equal |\n|---|---|---|---|")
    times: dict[str, list[float]] = {"random": [], "radiographs": [], "equal": []}
    for count in SIZES:
        cells = []
        for kind, seconds in times.items():
            taken, memory = _run(kind, count)
            seconds.append(taken)
            cells.append(f"{taken:.2f} s, {memory:,.0f} MB")
        print(f"| {count:,} | {' | '.join(cells)} |")
    growth = math.log(SIZES[-1] / SIZES[-2])
    exponents = [f"{math.log(seconds[-1] / seconds[-2]) / growth:.2f}" for seconds in times.values()]
    print(f"| exponent from {SIZES[-2]:,} to {SIZES[-1]:,} | {' | '.join(exponents)} |")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        _print_table()
    else:
        print(_search(sys.argv[1], int(sys.argv[2])), peak.megabytes())
