"""How many images of a folder a published version flags as out of distribution."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from radiograft.data.sources.listing import SUFFIXES
from radiograft.metrics.exact_intervals import proportion_interval
from radiograft.registry.result_types import Estimate
from radiograft.serving.loaded_version import LoadedVersion
from radiograft.serving.predictions import Distance

BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class Screening:
    """The out-of-distribution flags of a folder.

    Attributes:
        path: folder or file.
        distances: of the images that could be read.
        flags: whether each is flagged.
        unreadable: number of files that are no image that the version takes.
    """

    path: Path
    distances: list[float]
    flags: list[bool]
    unreadable: int

    @property
    def rate(self) -> Estimate:
        """Fraction of flagged images with its 95% Clopper-Pearson interval; every image counts as a patient."""
        if not self.flags:
            return {"value": None, "low": None, "high": None}
        return proportion_interval(float(np.mean(self.flags)), len(self.flags))


def screen_images(version: LoadedVersion, path: Path) -> Screening:
    """Measures the distance of all images in a folder and its subfolders, or of one file, from the training images.

    Raises:
        FileNotFoundError: there is no such folder or file, or it has no image files.
        ValueError: the version has no out-of-distribution flag.
    """
    if version.spec.ood_threshold is None:
        raise ValueError("the version must have an out-of-distribution flag, got none: train it with ood_percentile=99")
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"{path} must contain image files, got none with the suffixes {', '.join(SUFFIXES)}")
    contents, measured = _readable(version, files), list[Distance]()
    while batch := list(itertools.islice(contents, BATCH_SIZE)):  # one batch is in memory
        measured += version.measure_distances(batch)
    distances, flags = [each.ood_distance for each in measured], [each.is_out_of_distribution for each in measured]
    return Screening(path, distances, flags, len(files) - len(measured))


def _readable(version: LoadedVersion, files: list[Path]) -> Iterator[bytes]:
    for file in files:
        try:
            yield version.read_image(file)
        except ValueError:
            continue
