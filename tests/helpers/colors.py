"""Draws images in color whose luminance says nothing about their hue, and writes catalogs of images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from radiograft.data.catalog import SPLITS, Catalog, exclusion

LUMINANCE = (0.299, 0.587, 0.114)
RED, GREEN = (200, 30, 60), (20, 122, 60)  # of equal luminance, 84


def disk(color: tuple[int, int, int], seed: int, size: int = 64) -> np.ndarray:
    """Returns a disk of one color on noise, uint8 [size, size, 3]; place and radius depend on the seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    center, radius = rng.uniform(0.35, 0.65, 2) * size, rng.uniform(0.15, 0.3) * size
    inside = np.hypot(y - center[0], x - center[1]) < radius
    background = rng.integers(100, 180, (size, size), dtype=np.uint8)[..., None].repeat(3, axis=-1)
    return np.where(inside[..., None], np.array(color, np.uint8), background)


def catalog_of(files: Mapping[str, bytes], folder: Path, labels: Sequence[float]) -> Catalog:
    """Writes files, an equal number of consecutive ones for each split, and returns their catalog with one label."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (name, content) in enumerate(files.items()):
        (folder / name).write_bytes(content)
        rows.append(
            {
                "image_id": name,
                "uri": str(folder / name),
                "md5": hashlib.md5(content).hexdigest(),
                "patient_id": str(number),
                "view": None,
                "age": np.nan,
                "sex": None,
                "split": SPLITS[number * len(SPLITS) // len(files)],
                "label:Red": float(labels[number]),
            }
        )
    return Catalog(pd.DataFrame(rows), ("Red",), exclusion([], ""), str(folder))
