"""Decides whether a dataset is in color by a sample of its images; it does not import TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd

from radiograft import storage
from radiograft.data import gray_range
from radiograft.imaging import color, dicom, formats
from radiograft.imaging.geometry import GRAY, RGB
from radiograft.storage import archive, npz_archive, pseudonyms

FILE = "color.json"  # beside the shards of a worker
MAX_FILES = 128  # that are decoded
MAX_MEMBERS = 32  # of an archive or array, which must be read from its beginning
IN_COLOR = " in color"  # end of the mode of an image, as the status of a row records it


def stored_modes(channels: int) -> tuple[str, ...]:
    """Returns the modes, as the status of a row records them, of images that need no conversion.

    Args:
        channels: of the model: 1 for gray, 3 for RGB.

    Example:
        >>> stored_modes(1), stored_modes(3)
        (('L',), ('RGB', 'RGB in color'))
    """
    return ("L",) if channels == GRAY else ("RGB", f"RGB{IN_COLOR}")


class ColorSample(NamedTuple):
    """The number of images of a sample, and how many of them are in color; both are 0 if none had to be examined."""

    images: int = 0
    in_color: int = 0

    @property
    def channels(self) -> int:
        """3 if more than half of the images are in color, else 1."""
        return RGB if 2 * self.in_color > self.images else GRAY


def sample_colors(rows: pd.DataFrame) -> ColorSample:
    """Counts the images in color among up to MAX_FILES files and the first MAX_MEMBERS images of each archive.

    The sample depends only on the MD5 of the images, so all workers find the same numbers. Files that cannot be read
    do not count.

    Args:
        rows: catalog rows.
    """
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        found = [in_color for in_color in pool.map(_is_in_color, _sample(rows)) if in_color is not None]
    return ColorSample(len(found), sum(found))


def _sample(rows: pd.DataFrame) -> Iterator[str | bytes | np.ndarray]:
    """Yields the URIs of files, the contents of members, and the pixels of rows of arrays.

    Of a PACS nothing is downloaded for it: only its radiographs are read.
    """
    uris = rows.sort_values(["md5", "image_id"])["uri"]
    uris = uris[~uris.map(storage.is_dicomweb).astype(bool)]
    members = [uri for uri in uris if archive.MEMBER_URI.fullmatch(uri)]
    arrays = [npz_archive.parse_row_uri(uri) for uri in uris if npz_archive.ROW_URI.fullmatch(uri)]
    files = uris[~uris.isin({*members, *(npz_archive.row_uri(*place) for place in arrays)})]
    yield from pseudonyms.resolve_uris(list(files[:MAX_FILES]))
    yield from filter(None, archive.read_members(gray_range.first_members(members, MAX_MEMBERS)[:MAX_FILES]))
    first = pd.DataFrame(sorted(arrays), columns=["uri", "name", "row"]).groupby(["uri", "name"]).head(MAX_MEMBERS)
    places = [npz_archive.row_uri(*place) for place in first.itertuples(index=False, name=None)]
    yield from (pixels for pixels in npz_archive.read_rows(places) if pixels is not None)


def _is_in_color(image: str | bytes | np.ndarray) -> bool | None:
    """Returns whether an image is in color; None if it cannot be read."""
    if isinstance(image, np.ndarray):
        return color.is_colored(image)
    try:
        return _has_color(storage.read_bytes(image) if isinstance(image, str) else image)
    except (ValueError, FileNotFoundError):
        return None


def _has_color(content: bytes) -> bool:
    kind = formats.recognize(content)
    if kind == formats.DICOM:
        return color.is_colored(dicom.read(content, RGB).pixels)
    if kind in formats.CONVERTED:
        return color.is_colored(formats.to_pixels(content, kind)[0])
    return color.has_color(content)
