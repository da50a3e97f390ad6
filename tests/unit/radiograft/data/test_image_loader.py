"""Loading one image, whatever its defects, and loading many images in order."""

from __future__ import annotations

import hashlib
import random
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from radiograft import storage
from radiograft.data import image_loader
from radiograft.imaging.geometry import ImageInput
from tests.helpers.images import encode, noise, png_of_header_only, with_chunk_at_its_end

UNREADABLE, TOO_SMALL = "unreadable or truncated image", "image with a side shorter than 16 pixels"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def load_content(folder: Path, content: bytes) -> image_loader.LoadedImage:
    """Loads a file with this content, unchanged since ingest."""
    path = folder / "image.png"
    path.write_bytes(content)
    return image_loader.load(str(path), md5(content), target=ImageInput(32))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="zero bytes"),
        pytest.param(b"P5 no image\0", id="no image"),
        pytest.param(encode(noise(32))[:-1], id="last byte missing"),
        pytest.param(encode(noise(32), "JPEG")[:300], id="truncated JPEG"),
        pytest.param(png_of_header_only(2**31 - 1, 2**31 - 1), id="bomb"),
    ],
)
def test_load_unreadable_image_returns_reason(tmp_path: Path, content: bytes) -> None:
    assert load_content(tmp_path, content) == image_loader.LoadedImage(None, UNREADABLE)


COLORS = encode(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
CHUNKS = {
    "text of unknown compression": b"zTXta\0\5zz",
    "color profile of unknown compression": b"iCCPa\0\5zz",
    "frame out of order": b"fcTL" + struct.pack(">IIIIIHHBB", 7, 32, 32, 0, 0, 1, 1, 0, 0),
    "truncated color profile": b"iCCPa\0",
}


@pytest.mark.parametrize("chunk", CHUNKS.values(), ids=CHUNKS)
def test_load_corrupt_chunk_after_pixels_returns_reason(tmp_path: Path, chunk: bytes) -> None:
    """Fails if `has_color` raises Pillow's error: TensorFlow does not read beyond the pixels and has decoded the image
    before, so one such image would stop preprocess."""
    assert load_content(tmp_path, COLORS)[1:] == ("", "RGB", 32, 32, True)
    assert load_content(tmp_path, with_chunk_at_its_end(COLORS, chunk)) == image_loader.LoadedImage(None, UNREADABLE)


def test_load_decompression_bomb_returns_reason(tmp_path: Path) -> None:
    bomb = encode(Image.new("1", (8192, 8192)))
    assert len(bomb) < 20_000
    assert load_content(tmp_path, bomb) == image_loader.LoadedImage(None, UNREADABLE)


@settings(max_examples=150, deadline=None)
@given(format=st.sampled_from(["PNG", "JPEG"]), data=st.data())
def test_load_random_corruption_never_raises(
    tmp_path_factory: pytest.TempPathFactory, format: str, data: st.DataObject
) -> None:
    content = bytearray(encode(noise(32), format))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    loaded = load_content(tmp_path_factory.getbasetemp(), bytes(content))
    if loaded.reason:
        assert loaded in [image_loader.LoadedImage(None, reason) for reason in (UNREADABLE, TOO_SMALL)]
    else:
        assert loaded.image is not None
        assert loaded.image.shape == (32, 32, 1)


def test_load_object_storage_uri_returns_image(embedded: str) -> None:
    uri = storage.join(embedded, "preprocess", "image.png")
    content = encode(noise(32))
    assert image_loader.load(uri, md5(content), target=ImageInput(32)) == image_loader.LoadedImage(
        None, "deleted since ingest"
    )
    storage.write_bytes(uri, content)
    loaded = image_loader.load(uri, md5(content), target=ImageInput(32))
    assert loaded[1:] == ("", "L", 32, 32, False)
    np.testing.assert_array_equal(loaded.image, noise(32)[..., None])  # type: ignore[arg-type]


@pytest.mark.parametrize(("shape", "mode"), [((28, 28), "L"), ((40, 25, 3), "RGB"), ((224, 224), "L")])
def test_load_pixels_equals_loading_png(tmp_path: Path, shape: tuple[int, ...], mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    loaded = image_loader.load("set.npz#images/0", md5(pixels.tobytes()), pixels, target=ImageInput(32))
    np.testing.assert_array_equal(loaded.image, load_content(tmp_path, encode(pixels)).image)  # type: ignore[arg-type]
    assert loaded[1:] == ("", mode, shape[0], shape[1], mode == "RGB")


def test_load_changed_pixels_returns_reason() -> None:
    outcome = image_loader.load("set.npz#images/0", md5(noise(32).tobytes()), noise(32, 1), target=ImageInput(32))
    assert outcome == image_loader.LoadedImage(None, "changed since ingest")


def numbered(number: int) -> image_loader.LoadedImage:
    return image_loader.LoadedImage(None, str(number), "")


def delayed(number: int) -> image_loader.LoadedImage:
    time.sleep(random.Random(number).random() / 500)
    return numbered(number)


@pytest.mark.parametrize("work", [numbered, delayed])
@pytest.mark.parametrize("count", [0, 1, image_loader.READ_AHEAD - 1, image_loader.READ_AHEAD, 100])
def test_in_order_keeps_order(work: Callable[[int], image_loader.LoadedImage], count: int) -> None:
    results = image_loader.in_order(work, iter(range(count)))
    assert [int(result.reason) for result in results] == list(range(count))


def test_in_order_limits_read_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(200):
            taken.append(number)
            yield number

    for done, _ in enumerate(image_loader.in_order(numbered, items()), 1):
        assert len(taken) <= done + image_loader.READ_AHEAD


def test_in_order_error_propagates() -> None:
    def broken(number: int) -> image_loader.LoadedImage:
        raise ConnectionError("no store")

    with pytest.raises(ConnectionError, match="no store"):
        list(image_loader.in_order(broken, iter(range(3))))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encode(noise(32), "PPM"), "PNM file: convert it to PNG"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer instead of an image: run git lfs pull"),
        (b"404: Not Found", "text instead of an image: download the file again"),
        (
            encode(noise(32).astype("float32"), "TIFF"),
            "TIFF image with floating-point gray values: convert it to 16 bits",
        ),
        (encode(noise(32), "WEBP")[:100], "WebP image that is truncated, corrupt or of an unsupported kind"),
    ],
)
def test_load_file_of_another_kind_returns_true_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    """Fails if a file that is complete is called truncated."""
    assert load_content(tmp_path, content) == image_loader.LoadedImage(None, reason)


@pytest.mark.parametrize(("kind", "mode"), [("WEBP", "RGB"), ("BMP", "L"), ("GIF", "P"), ("TIFF", "L")])
def test_load_disguised_image_equals_png(tmp_path: Path, kind: str, mode: str) -> None:
    """Fails if a WebP image named .png is left out."""
    options = {"lossless": True} if kind == "WEBP" else {}
    loaded = load_content(tmp_path, encode(noise(32), kind, **options))
    assert loaded[1:] == ("", mode, 32, 32, False)
    np.testing.assert_array_equal(loaded.image, noise(32)[..., None])  # type: ignore[arg-type]
