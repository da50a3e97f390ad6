"""Finds the published generator with which preprocess enlarges images."""

from __future__ import annotations

from radiograft.config import Preprocess
from radiograft.imaging.geometry import Enlargement
from radiograft.registry.generators import find_generator

SETTING = "image_super_resolution"


def find_enlargement(settings: Preprocess, channels: int | None = None) -> Enlargement | None:
    """Returns how images are enlarged, None if they are not.

    Args:
        settings: of preprocess.
        channels: of the images, None if they are not known yet.

    Raises:
        FileNotFoundError: the version does not exist.
        ValueError: it is not a generator, or one of images of another size or other channels.
    """
    if not settings.image_super_resolution:
        return None
    found = find_generator(SETTING, settings.image_super_resolution)
    if found.spec.image_size != settings.stored_size:
        raise ValueError(
            f"{SETTING} must be a generator of images of {settings.stored_size} pixels as image_size says, got "
            f"{found.uri!r} of {found.spec.image_size} pixels: it was evaluated at this size alone"
        )
    if channels not in (None, found.spec.channels):
        raise ValueError(
            f"{SETTING} must be a generator of images with {channels} channels, got {found.uri!r} with "
            f"{found.spec.channels}: set image_channels, or train another one"
        )
    return Enlargement(found.uri, found.spec.scale, found.sha256)
