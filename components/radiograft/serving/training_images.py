"""What a version records of the images that it was made from, to warn about images of another kind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from radiograft.drift.image_ranges import ImageSize, describe_outliers, unknown_ranges
from radiograft.drift.reference import REFERENCE, ReferenceSample
from radiograft.imaging.decode import has_color, inspect_image
from radiograft.utils import json_io

PHANTOM_SOURCE = re.compile(r"phantom-\d+-patients-seed-\d+")  # folder that `generate_phantom` writes
SYNTHETIC = (
    "this version was made from synthetic images ({source}): its probabilities say nothing about real radiographs"
)
UNRECORDED = "this version records no sizes and gray values of its development images: files are not compared with them"
COLOR = "in color; development images are gray"


class TrainingImages(NamedTuple):
    """The images that a version was made from.

    Attributes:
        source: URI of the data, empty if unknown.
        synthetic: whether they are phantoms.
        in_color: whether any was in color, None if unknown.
        ranges: sizes and gray values, see `image_ranges.measure_ranges`; NaN if unknown.
    """

    source: str
    synthetic: bool
    in_color: bool | None
    ranges: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads lineage.json, metrics.json and the drift reference of a version; missing ones leave it unknown.

        Raises:
            ValueError: a file is malformed.
        """
        lineage, metrics = _read_json(folder / "lineage.json"), _read_json(folder / "metrics.json")
        source = str(lineage.get("source", ""))
        converted = (metrics.get("data") or {}).get("converted")
        reference = folder / REFERENCE
        return cls(
            source,
            (lineage.get("settings") or {}).get("data_format") == "phantom" or bool(PHANTOM_SOURCE.search(source)),
            None if converted is None else any(mode.endswith(" in color") for mode in converted),
            ReferenceSample.read(reference.read_bytes()).ranges if reference.is_file() else unknown_ranges(),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings that hold for every prediction of the version."""
        synthetic = [SYNTHETIC.format(source=self.source)] if self.synthetic else []
        return (*synthetic, *([UNRECORDED] if np.isnan(self.ranges).all() else []))

    def describe_differences(self, content: bytes, image: np.ndarray) -> list[str]:
        """Describes how a file differs from the development images in kind, size and gray values.

        Args:
            content: encoded PNG or JPEG file.
            image: uint8 [size, size, 1], the decoded image as the model receives it.
        """
        header = inspect_image(content)
        color = [COLOR] if self.in_color is False and has_color(content) else []
        return color + describe_outliers(self.ranges, ImageSize(header.height, header.width), image)


def _read_json(path: Path) -> dict[str, Any]:
    return json_io.parse_json_object(path.read_bytes(), path.name) if path.is_file() else {}
