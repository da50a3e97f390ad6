"""Decoding large JPEGs at reduced size, compared with decoding them whole, and how much the pixels change."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
from PIL import Image

from radiograft.data.image_loader import decode_content
from radiograft.imaging.geometry import ImageInput
from tests.benchmarks import large_films
from tests.benchmarks.films import SIDE
from tests.benchmarks.row import Row
from tests.benchmarks.timing import taking_turns

HEIGHT, WIDTH = 3056, 2544  # of most detectors in ChestX-ray14
FILMS, TURNS, QUALITY = 8, 5, 90


def measure(work: Path) -> list[Row]:
    """Measures images per second of processor time, interleaved."""
    large_films.catalog(work)
    films = [_enlarge(path) for path in sorted((work / "large_films").rglob("*.png"))[:FILMS]]
    target = ImageInput(SIDE)

    def decode_all(each: ImageInput) -> np.ndarray:
        return np.stack([np.asarray(decode_content(film, each).image, int) for film in films])

    reduced = target._replace(reduced_jpeg=True)
    changes = np.abs(decode_all(target) - decode_all(reduced))
    ours, theirs = taking_turns(lambda: decode_all(reduced), lambda: decode_all(target), TURNS, time.process_time)
    how = (
        f"{FILMS} JPEGs of {WIDTH} x {HEIGHT} px, {large_films.NAME} and enlarged, to {SIDE} px; processor time, "
        f"median of {TURNS}. Ours: image_reduced_jpeg. Theirs: without. Pixels change by {changes.mean():.2f} gray "
        f"levels in the mean and at most {changes.max()}."
    )
    return [Row.rate("decoding large JPEGs", FILMS / ours, FILMS / theirs, floor=1.25, how=how)]


def _enlarge(path: Path) -> bytes:
    file = io.BytesIO()
    with Image.open(path) as film:
        film.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
