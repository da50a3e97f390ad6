"""A published generator of super-resolution that enlarges image files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from radiograft.config.preprocessing import PAD
from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.evaluation.super_resolution import high_frequency_energy, shrink_to_pixels
from radiograft.imaging.burned_note import with_note
from radiograft.imaging.decode import as_served, decode, inspect_image
from radiograft.imaging.geometry import Enlargement, ImageInput
from radiograft.registry.generators import find_generator

NOTE = "Enlarged {scale} times by a network ({name}): detail is an estimate. Research only. Not for diagnosis."
FLAGGED = "flagged: it has more energy at high frequencies than real images have"
MAX_ROUNDING = 1  # gray levels
SAMPLE_SIZE = 256  # pixels of the synthetic image


class EnlargedImage(NamedTuple):
    """An enlarged image: a PNG file with a burned-in note, its pixels, and whether the guard flagged it."""

    png: bytes
    pixels: np.ndarray
    is_flagged: bool


class LoadedGenerator:
    """A published generator, whose files are verified.

    Attributes:
        spec: its specification.
    """

    def __init__(self, uri: str) -> None:
        """Finds the version REGISTRY/NAME/NUMBER.

        Raises:
            FileNotFoundError: the version does not exist.
            ValueError: it is not a generator, or is corrupt.
        """
        found = find_generator("uri", uri)
        self.spec = found.spec
        self._name = " version ".join(found.uri.rsplit("/", 2)[1:])
        self._target = ImageInput(
            found.spec.image_size,
            PAD,
            channels=found.spec.channels,
            enlarged_by=Enlargement(found.uri, found.spec.scale, found.sha256),
        )

    @property
    def input_size(self) -> int:
        """Longest side of the images that are enlarged, in pixels."""
        return self._target.before_enlarging().size

    def enlarge(self, path: Path) -> EnlargedImage:
        """Enlarges a PNG, JPEG, DICOM, TIFF, BMP, GIF or WebP file; black borders make it square.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: it is not an image, or larger than the input of the network.
        """
        try:
            content = as_served(path.read_bytes(), self.spec.channels).content
            header = inspect_image(content)
            if max(header.height, header.width) > self.input_size:
                raise ValueError(
                    f"sides must be at most {self.input_size} pixels, got {header.width} x {header.height}: a larger "
                    "image would lose detail that was recorded"
                )
            pixels = decode(tf.constant(content), self._target).numpy()
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(f"{path} must be an image that can be enlarged: {_first_line(error)}") from None
        note = NOTE.format(scale=self.spec.scale, name=self._name)
        is_flagged = bool(high_frequency_energy(pixels[None], self.spec.scale)[0] > self.spec.guard)
        return EnlargedImage(with_note(pixels, f"{note} {FLAGGED}." if is_flagged else note), pixels, is_flagged)

    def verify_consistency(self) -> int:
        """Enlarges a synthetic image; returns how far it is from its input once it is shrunk again, in gray levels.

        Raises:
            ValueError: the difference exceeds rounding.
        """
        _, content = next(generate_phantom_files(1, seed=0, size=SAMPLE_SIZE))
        small = decode(tf.constant(content), self._target.before_enlarging()).numpy()
        shrunk = shrink_to_pixels(decode(tf.constant(content), self._target).numpy()[None], self.spec.scale)[0]
        largest = int(np.abs(shrunk.astype(int) - small).max())
        if largest > MAX_ROUNDING:
            raise ValueError(
                f"an enlarged image, shrunk, must be its input within {MAX_ROUNDING} gray level, got a difference of "
                f"{largest}: publish the generator again"
            )
        return largest


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
