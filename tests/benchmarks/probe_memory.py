"""`python -m tests.benchmarks.probe_memory IMAGES`: time and peak memory of the cut-off curve of random features."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from radiograft.models.predictor import create_memmap
from radiograft.training.cut_off_curve import compute_curve
from radiograft.training.feature_extraction import FeatureSet
from tests.benchmarks import peak

WIDTHS, STORED, LABELS, PART = (256, 512, 1024, 1024, 1920), 3840, 14, 2000


def _store(folder: Path, split: str, images: int) -> np.ndarray:
    path, rng = folder / f"{split}.npy", np.random.default_rng(0)
    file = create_memmap(path, (images, STORED))
    for start in range(0, images, PART):
        part = file[start : start + PART]
        part[:] = rng.standard_normal(part.shape, dtype="float32")
    file.flush()
    return np.asarray(np.load(path, mmap_mode="r"))


def main(images: int) -> None:
    """Prints processor time and peak memory; the memory includes pages of the file that the system may drop."""
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        stored = {
            split: _store(Path(folder), split, count)
            for split, count in (("train", images), ("validation", images // 8))
        }
        truth = {
            split: (values[:, :LABELS] + rng.standard_normal((len(values), LABELS)) > 0.5).astype("float32")
            for split, values in stored.items()
        }
        columns = {f"layer {number}": (slice(0, width),) for number, width in enumerate(WIDTHS)}
        start = time.process_time()
        compute_curve(FeatureSet(keras.Sequential(), columns, stored), truth)
        print(f"{images:,} images: {time.process_time() - start:.1f} s, {peak.megabytes():,.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]))
