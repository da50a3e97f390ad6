"""What a version records of the images that it was made from, to warn about images of another kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from radiograft.drift.image_ranges import ImageSize, describe_outliers, unknown_ranges
from radiograft.drift.reference import REFERENCE, ReferenceSample
from radiograft.imaging.color import has_color
from radiograft.imaging.decode import inspect_image
from radiograft.utils import json_io

PHANTOM_SOURCE = re.compile(r"phantom-\d+-patients-seed-\d+")  # folder that `generate_phantom` writes
SYNTHETIC = (
    "this version was made from synthetic images ({source}): its probabilities say nothing about real radiographs"
)
UNRECORDED = "this version records no sizes and gray values of its development images: files are not compared with them"
ENLARGED = (
    "a network ({uri}) enlarged the training images and enlarges each file, also in heat maps: detail is an estimate"
)
COLOR = "in color; development images are gray"
GRAY_IMAGE = "gray; development images are in color"


class TrainingImages(NamedTuple):
    """The images that a version was made from.

    Attributes:
        source: URI of the data, empty if unknown.
        synthetic: whether they are phantoms.
        in_color: whether any was in color, None if unknown.
        in_gray: whether any was gray, None if unknown.
        ranges: sizes and gray values, see `image_ranges.measure_ranges`; NaN if unknown.
        enlarged_by: URI of the network that enlarged them, empty without one.
    """

    source: str
    synthetic: bool
    in_color: bool | None
    in_gray: bool | None
    ranges: np.ndarray
    enlarged_by: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads lineage.json, metrics.json and the drift reference of a version; missing ones leave it unknown.

        Raises:
            ValueError: a file is malformed.
        """
        lineage, metrics = _read_json(folder / "lineage.json"), _read_json(folder / "metrics.json")
        source = str(lineage.get("source", ""))
        data = metrics.get("data") or {}
        in_color, in_gray = _kinds(data)
        reference = folder / REFERENCE
        return cls(
            source,
            (lineage.get("settings") or {}).get("data_format") == "phantom" or bool(PHANTOM_SOURCE.search(source)),
            in_color,
            in_gray,
            ReferenceSample.read(reference.read_bytes()).ranges if reference.is_file() else unknown_ranges(),
            str((lineage.get("enlarged_by") or {}).get("uri", "")),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings that hold for every prediction of the version."""
        synthetic = [SYNTHETIC.format(source=self.source)] if self.synthetic else []
        enlarged = [ENLARGED.format(uri=self.enlarged_by)] if self.enlarged_by else []
        return (*synthetic, *enlarged, *([UNRECORDED] if np.isnan(self.ranges).all() else []))

    def describe_differences(self, content: bytes, image: np.ndarray) -> list[str]:
        """Describes how a file differs from the development images in kind, size and gray values.

        Args:
            content: encoded PNG or JPEG file.
            image: uint8 [size, size, channels], the decoded image as the model receives it.
        """
        header = inspect_image(content)
        kind = []
        if self.in_color is False and has_color(content):
            kind = [COLOR]
        elif self.in_gray is False and not has_color(content):
            kind = [GRAY_IMAGE]
        return kind + describe_outliers(self.ranges, ImageSize(header.height, header.width), image)


def _kinds(data: Mapping[str, Any]) -> tuple[bool | None, bool | None]:
    """Returns whether any development image was in color, and whether any was gray; None if unknown."""
    if counts := data.get("color"):
        return counts["in_color"] > 0, counts["in_color"] < counts["images"]
    converted = data.get("converted")  # older versions counted only the images that were converted to gray
    return None if converted is None else any(mode.endswith(" in color") for mode in converted), None


def _read_json(path: Path) -> dict[str, Any]:
    return json_io.parse_json_object(path.read_bytes(), path.name) if path.is_file() else {}
