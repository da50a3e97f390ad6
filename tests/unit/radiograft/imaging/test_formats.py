"""Files are recognized by their content, and other images are converted to PNG or refused with the true reason."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from radiograft.imaging import formats
from radiograft.imaging.decode import as_served
from radiograft.imaging.formats import UnsupportedFileError, recognize
from radiograft.imaging.image_size import TooSmallError
from tests.helpers.archives import tar_gz, zipped
from tests.helpers.dicom_files import dicom_file
from tests.helpers.images import encode, noise, tiff

VALUES = np.random.default_rng(0).integers(0, 65536, (32, 40)).astype(np.uint16)
LOSSLESS = {"BMP": {}, "GIF": {}, "TIFF": {"compression": "tiff_lzw"}, "WEBP": {"lossless": True}}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        *((encode(noise(32), kind), kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")),
        (encode(Image.fromarray(VALUES), "TIFF"), "TIFF"),
        (encode(noise(32), "PPM"), "PNM"),
        (encode(noise(32), "JPEG2000"), "JPEG 2000"),
        (encode(noise(32), "AVIF"), "AVIF"),
        (dicom_file(noise(32)), "DICOM"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (zipped({"a": b""}), "ZIP"),
        (tar_gz({"a": b""}), "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "Git LFS"),
        (b"\n<!DOCTYPE HTML><title>Sign in</title>", "HTML"),
        (b"%PDF-1.7", "PDF"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"Rar!\x1a\x07\0", "RAR"),
        (b"8BPS\0\x01", "Photoshop"),
        (b"NRRD0004\n", "NRRD"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
        (b"BMW is not a bitmap", ""),
        (b"P5 no image", ""),
        (b"", ""),
    ],
)
def test_recognize_returns_format_by_content(content: bytes, kind: str) -> None:
    assert recognize(content) == kind


@pytest.mark.parametrize("kind", LOSSLESS)
def test_as_served_converts_lossless_formats_to_same_pixels(kind: str) -> None:
    served = as_served(encode(noise(32), kind, **LOSSLESS[kind])).content
    assert recognize(served) == "PNG"
    with Image.open(io.BytesIO(served)) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("L")), noise(32))


@pytest.mark.parametrize("byte_order", ["I;16", "I;16B"])
def test_as_served_tiff_of_16_bits_keeps_values(byte_order: str) -> None:
    """Fails if the 16-bit TIFF files of CT data sets lose their lower bits."""
    content = encode(
        Image.frombytes(byte_order, (40, 32), VALUES.astype("<u2" if byte_order == "I;16" else ">u2")), "TIFF"
    )
    assert formats.to_pixels(content, "TIFF")[1] == byte_order
    with Image.open(io.BytesIO(as_served(content).content)) as image:
        np.testing.assert_array_equal(np.asarray(image), VALUES)


@pytest.mark.parametrize("values", [VALUES, (VALUES >> 8).astype(np.uint8)], ids=["16 bits", "8 bits"])
def test_as_served_tiff_whose_low_values_are_white_is_inverted(values: np.ndarray) -> None:
    """Fails if bones are dark: Pillow inverts such files only up to 8 bits."""
    content = tiff(values, white_is_zero=True)
    with Image.open(io.BytesIO(as_served(content).content)) as image:
        np.testing.assert_array_equal(np.asarray(image), np.iinfo(values.dtype).max - values)


@pytest.mark.parametrize("kind", ["<u4", "<i4"])
def test_as_served_tiff_of_32_bits_keeps_values_that_fit_into_16(kind: str) -> None:
    with Image.open(io.BytesIO(as_served(tiff(VALUES.astype(kind))).content)) as image:
        np.testing.assert_array_equal(np.asarray(image), VALUES)


FRAMES = [Image.fromarray(noise(32, seed)) for seed in range(2)]
TWO = {"save_all": True, "append_images": FRAMES[1:]}
REFUSED = {
    "GIF of two frames": (encode(FRAMES[0], "GIF", **TWO), "GIF image with several frames"),
    "TIFF of two pages": (encode(FRAMES[0], "TIFF", **TWO), "TIFF image with several frames"),
    "TIFF of floats": (encode(noise(32).astype("float32"), "TIFF"), "TIFF image with floating-point gray values: conv"),
    "TIFF of 17 bits": (tiff(VALUES.astype("<u4") + 65_536), "TIFF image with gray values outside 0 to 65,535: conv"),
    "TIFF of negative values": (tiff(VALUES.astype("<i4") - 40_000), "TIFF image with gray values outside 0 to 65,535"),
    "TIFF of 3 x 16 bits": (tiff(np.stack([VALUES] * 3, -1)), "TIFF image with 16 bits per color channel: convert it"),
    "truncated WebP": (encode(noise(32), "WEBP")[:200], "WebP image that is truncated, corrupt or"),
    "PGM": (encode(noise(32), "PPM"), "PNM file: convert it to PNG"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer instead of an image"),
    "XML": (b"<?xml version='1.0'?><Error/>", "XML document instead of an image: download the file again"),
    "JSON": (b'{"message": "Not Found"}', "text instead of an image: download the file again"),
    "packed": (tar_gz({"a": b""}), "gzip file, which is not read: unpack it"),
    "web page": (b"<html>", "web page instead of an image: download the file again"),
    "noise": (noise(32).tobytes(), "unreadable or truncated image"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_as_served_unsupported_content_raises_with_reason(content: bytes, reason: str) -> None:
    with pytest.raises(UnsupportedFileError, match=f"^{reason}"):
        as_served(content)


def test_as_served_checks_size_before_decoding() -> None:
    with pytest.raises(TooSmallError):
        as_served(encode(noise(8), "BMP"))
    with pytest.raises(ValueError, match="at most 64000000 pixels"):
        as_served(encode(Image.new("1", (9000, 9000)), "TIFF", compression="group4"))


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(LOSSLESS)), data=st.data())
def test_as_served_random_corruption_raises_only_value_errors(kind: str, data: st.DataObject) -> None:
    content = bytearray(encode(noise(32), kind, **LOSSLESS[kind]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(0, len(content)))
    with contextlib.suppress(ValueError):
        assert recognize(as_served(bytes(content[:length])).content) in formats.SERVED
