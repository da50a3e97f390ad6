"""How an image file becomes the square input of a network, and where a box of the image lies in the square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from radiograft.config.preprocessing import PAD, STRETCH

GrayRange = tuple[int, int]
GRAY, RGB = 1, 3  # channels of an image


class Enlargement(NamedTuple):
    """A published generator of super-resolution that enlarges images after they were resized.

    Attributes:
        uri: REGISTRY/NAME/NUMBER.
        scale: ratio of the sides of output and input.
        sha256: of the version's manifest, which lists the SHA-256 of each file.
    """

    uri: str
    scale: int
    sha256: str


class ImageInput(NamedTuple):
    """The square input of a network, and how images are converted to it.

    Attributes:
        size: width and height in pixels.
        resize: `stretch` ignores the aspect ratio; `pad` keeps it and adds black borders of equal width.
        gray_range: values of 16-bit images that become black and white; None divides by 256, so that only images that
            use all 16 bits fill the 8 bits.
        channels: 1 for gray, 3 for RGB.
        reduced_jpeg: whether a JPEG that is much larger than the square is decoded at a half, a quarter or an eighth of
            its sides, which takes less time and changes the pixels a little.
        enlarged_by: the network that enlarges each image to `size`; None resizes it to `size` alone.
    """

    size: int
    resize: str = STRETCH
    gray_range: GrayRange | None = None
    channels: int = GRAY
    reduced_jpeg: bool = False
    enlarged_by: Enlargement | None = None

    @property
    def scale(self) -> int:
        """How much a network enlarges the sides; 1 without one."""
        return self.enlarged_by.scale if self.enlarged_by else 1

    def before_enlarging(self) -> ImageInput:
        """Returns the input of the network that enlarges images."""
        return self._replace(size=self.size // self.scale, enlarged_by=None)


def as_range(values: Sequence[int] | None) -> GrayRange | None:
    """Returns a range that was read from JSON.

    Raises:
        ValueError: It does not have two values.
    """
    if values is None:
        return None
    low, high = values
    return low, high


def place_in_square(length: float, other: float, target: ImageInput) -> tuple[float, float]:
    """Returns the first pixel of an image's side in the square, and its length there.

    Args:
        length: the side in pixels.
        other: the other side in pixels.
        target: the square.

    Example:
        >>> place_in_square(50, 100, ImageInput(32, "pad"))
        (8, 16)
    """
    if target.resize != PAD:
        return 0, target.size
    size = target.size // target.scale
    scaled = max(1, round(size * length / max(length, other)))
    return (size - scaled) // 2 * target.scale, scaled * target.scale


def without_borders(square: np.ndarray, height: int, width: int, target: ImageInput) -> np.ndarray:
    """Returns the part of a square that shows the image, stretched to the square by repeating or leaving out pixels.

    Args:
        square: [size, size, channels], an image that was converted to `target`.
        height, width: sides of the original image in pixels.
        target: the square.
    """
    parts = (place_in_square(height, width, target), place_in_square(width, height, target))
    positions = [np.arange(target.size) * int(length) // target.size + int(start) for start, length in parts]
    return square[np.ix_(*positions)]


def boxes_in_square(boxes: np.ndarray, sides: np.ndarray, target: ImageInput) -> np.ndarray:
    """Maps boxes of images to the square.

    Args:
        boxes: [boxes, 4]: x and y of the upper left corner, width, height; fractions of the image.
        sides: [boxes, 2]: height and width of each box's image in pixels.
        target: the square.

    Returns:
        float64 [boxes, 4], as fractions of the square.

    Example:
        >>> boxes_in_square(np.array([[0, 0, 1, 0.5]]), np.array([[100, 50]]), ImageInput(32, "pad"))
        array([[0.25, 0.  , 0.5 , 0.5 ]])
    """
    mapped = np.asarray(boxes, "float64").reshape(-1, 4).copy()
    for box, (height, width) in zip(mapped, sides, strict=True):
        left, columns = place_in_square(width, height, target)
        top, rows = place_in_square(height, width, target)
        scale = np.array([columns, rows]) / target.size
        box[:2] = box[:2] * scale + np.array([left, top]) / target.size
        box[2:] *= scale
    return mapped
