"""Recognizes files by their content, and converts BMP, GIF, TIFF and WebP images to PNG with Pillow's decoders."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from radiograft.config.data_policy import TEXT_FILE, UNREADABLE
from radiograft.config.preprocessing import MAX_GRAY
from radiograft.imaging.image_size import check_not_too_small, check_size

HEAD_BYTES = 512  # enough for `recognize`
SERVED = ("PNG", "JPEG")  # those that the served model decodes
CONVERTED = ("BMP", "GIF", "TIFF", "WEBP")
DICOM = "DICOM"
MAGIC = {  # the first that matches counts
    DICOM: rb".{128}DICM|[\x02\x08]\0..(?:[A-Z]{2}|..\0\0)|\0[\x02\x08]..[A-Z]{2}",  # also without a preamble
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "BMP": rb"BM.{4}\0{4}",
    "GIF": rb"GIF8[79]a",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WEBP": rb"RIFF.{4}WEBP",
    "HEIC": rb".{4}ftyp(?:hei|hev|mif1|msf1)",
    "AVIF": rb".{4}ftypavi",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "PNM": rb"P[1-7]\s+(?:#|\d|WIDTH)",
    "NumPy": rb"\x93NUMPY",
    "HDF5": rb"\x89HDF\r\n",
    "NIfTI": rb"\x5c\x01\0\0.{340}n[i+]1",
    "NRRD": rb"NRRD000\d",
    "Photoshop": rb"8BPS\0[\x01\x02]",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "PDF": rb"%PDF",
    "ZIP": rb"PK\x03\x04",
    "gzip": rb"\x1f\x8b\x08",
    "bzip2": rb"BZh[1-9]1AY&SY",
    "xz": rb"\xfd7zXZ\0",
    "7z": rb"7z\xbc\xaf\x27\x1c",
    "RAR": rb"Rar!\x1a\x07",
    "Git LFS": rb"version https://git-lfs",
    "HTML": rb"\s*<(?i:!doctype html|html|head)",
    "SVG": rb"(?s:\s*<\?xml.{0,200}?\?>)?\s*<svg",
    "XML": rb"\s*<\?xml",
}
IMAGES = ("HEIC", "AVIF", "JPEG 2000", "JPEG XL", "PNM", "NumPy", "NIfTI", "MetaImage", "NRRD", "SVG", "Photoshop",
          "OpenEXR")  # not read here  # fmt: skip
REASONS = {
    "Git LFS": "Git LFS pointer instead of an image: run git lfs pull",
    "HTML": "web page instead of an image: download the file again",
    "XML": "XML document instead of an image: download the file again",
    DICOM: "DICOM file: set data_format=dicom",
    **{kind: f"{kind} archive, which is not read: unpack it" for kind in ("RAR", "7z", "tar")},
    **{kind: f"{kind} file, which is not read: unpack it" for kind in ("gzip", "bzip2", "xz")},
}
TEXT = re.compile(rb"[\t\r\n\x20-\x7e]+")

ERRORS = (OSError, Image.DecompressionBombError, SyntaxError, ValueError, IndexError, TypeError, KeyError, MemoryError,
          OverflowError, EOFError)  # fmt: skip


WHITE_IS_ZERO = 0  # photometric interpretation of a TIFF


class UnsupportedFileError(ValueError):
    """The file cannot be used; the message says why, without its name."""


def recognize(content: bytes) -> str:
    """Returns the format of a file, a key of MAGIC, by its first HEAD_BYTES; "" if it is unknown.

    Example:
        >>> recognize(b"GIF89a")
        'GIF'
    """
    head = content[:HEAD_BYTES]
    return next((name for name, pattern in MAGIC.items() if re.match(pattern, head, re.DOTALL)), "")


def reason_unsupported(kind: str) -> str:
    """Returns why a file of this format, from `recognize`, is not used."""
    other = f"{kind} file: convert it to PNG" if kind in IMAGES else f"{kind} file, which is not an image"
    return REASONS.get(kind, other if kind else UNREADABLE)


def reason_unreadable(content: bytes) -> str:
    """Returns why a file that is named as an image is not used, although its content may be text.

    Example:
        >>> reason_unreadable(b'{"error": "not found"}')
        'text instead of an image: download the file again'
    """
    kind = recognize(content)
    return TEXT_FILE if not kind and TEXT.fullmatch(content[:HEAD_BYTES]) else reason_unsupported(kind)


def to_pixels(content: bytes, kind: str) -> tuple[np.ndarray, str]:
    """Decodes an image whose format is in CONVERTED, upright as its EXIF orientation says.

    Returns:
        uint8 or uint16 [height, width], or uint8 [height, width, 3], and Pillow's mode of the file.

    Raises:
        TooSmallError: A side is below MIN_SIDE.
        UnsupportedFileError: The file is truncated or corrupt, or has several frames, floating-point values, values
            above 65,535 or 16 bits per color channel, of which Pillow reads only 8.
        ValueError: The image has more than MAX_PIXELS pixels.
    """
    name = kind.replace("WEBP", "WebP")
    try:
        with Image.open(io.BytesIO(content), formats=(kind,)) as image:
            mode, width, height = image.mode, image.width, image.height
            unsupported = _unsupported_kind(image)
            if not unsupported and _is_allowed(height, width):
                return _pixels(image), mode
    except UnsupportedFileError as error:
        raise UnsupportedFileError(f"{name} image with {error}") from None
    except ERRORS as error:
        raise UnsupportedFileError(f"{name} image that is truncated, corrupt or of an unsupported kind") from error
    check_size(height, width)
    check_not_too_small(height, width)
    raise UnsupportedFileError(f"{name} image with {unsupported}")


def _unsupported_kind(image: Image.Image) -> str:
    """Returns what in the header of an image is not supported, or ""."""
    if getattr(image, "is_animated", False):
        return "several frames"
    if image.mode == "F":
        return "floating-point gray values: convert it to 16 bits"
    bits = getattr(image, "tag_v2", {}).get(TiffImagePlugin.BITSPERSAMPLE, (8,))
    return "16 bits per color channel: convert it to 8 bits" if len(bits) > 1 and max(bits) > 8 else ""


def _is_allowed(height: int, width: int) -> bool:
    try:
        check_size(height, width)
        check_not_too_small(height, width)
    except ValueError:
        return False
    return True


def is_white_zero(image: Image.Image) -> bool:
    """Returns whether low values of a TIFF are white."""
    return getattr(image, "tag_v2", {}).get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO


def gray_values(image: Image.Image, *, inverted: bool) -> np.ndarray:
    """Returns the values of a gray image of more than 8 bits, uint16 [height, width], in which white is high.

    Args:
        image: An image whose mode begins with `I`.
        inverted: Whether its low values are white, which Pillow corrects only up to 8 bits.

    Raises:
        UnsupportedFileError: A value is negative or above 65,535.
    """
    values = np.asarray(image)
    if values.min() < 0 or values.max() > MAX_GRAY:
        raise UnsupportedFileError(f"gray values outside 0 to {MAX_GRAY:,}: convert it to 16 bits")
    return (MAX_GRAY - values if inverted else values).astype(np.uint16)


def _pixels(image: Image.Image) -> np.ndarray:
    upright = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return gray_values(upright, inverted=is_white_zero(image))
    return np.asarray(upright.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB"))
