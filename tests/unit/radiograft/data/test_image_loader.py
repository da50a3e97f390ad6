"""Reading: what becomes of one image, whatever is wrong with it, and that many come in order."""

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
from tests.helpers.images import encode, noise, png_of_header_only, with_chunk_at_its_end

UNREADABLE, TOO_SMALL = "unreadable or truncated image", "image of less than 16 pixels a side"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def loaded(folder: Path, content: bytes) -> image_loader.LoadedImage:
    """What becomes of a file with this content that ingest has seen so."""
    path = folder / "image.png"
    path.write_bytes(content)
    return image_loader.load(str(path), md5(content), size=32)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="zero bytes"),
        pytest.param(b"P5 no image", id="text"),
        pytest.param(encode(noise(32))[:-1], id="last byte missing"),
        pytest.param(encode(noise(32), "JPEG")[:300], id="truncated JPEG"),
        pytest.param(encode(noise(32), "GIF"), id="GIF"),
        pytest.param(png_of_header_only(2**31 - 1, 2**31 - 1), id="bomb"),
    ],
)
def test_an_unreadable_image_is_no_error(tmp_path: Path, content: bytes) -> None:
    assert loaded(tmp_path, content) == image_loader.LoadedImage(None, UNREADABLE)


COLORS = encode(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
BEHIND = {
    "text of unknown compression": b"zTXta\0\5zz",
    "color profile of unknown compression": b"iCCPa\0\5zz",
    "frame out of order": b"fcTL" + struct.pack(">IIIIIHHBB", 7, 32, 32, 0, 0, 1, 1, 0, 0),
    "color profile cut off": b"iCCPa\0",
}


@pytest.mark.parametrize("chunk", BEHIND.values(), ids=BEHIND)
def test_damage_behind_the_pixels_of_a_color_image_is_no_error(tmp_path: Path, chunk: bytes) -> None:
    """Fails where in_color lets through what Pillow raises: TensorFlow, which has decoded it by then, looks no
    further than the pixels, and one such image would end preprocess."""
    assert loaded(tmp_path, COLORS)[1:] == ("", "RGB", 32 * 32, True)
    assert loaded(tmp_path, with_chunk_at_its_end(COLORS, chunk)) == image_loader.LoadedImage(None, UNREADABLE)


def test_a_whole_image_of_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    bomb = encode(Image.new("1", (8192, 8192)))
    assert len(bomb) < 20_000
    assert loaded(tmp_path, bomb) == image_loader.LoadedImage(None, UNREADABLE)


@settings(max_examples=150, deadline=None)
@given(format=st.sampled_from(["PNG", "JPEG"]), data=st.data())
def test_no_damage_to_a_file_raises(tmp_path_factory: pytest.TempPathFactory, format: str, data: st.DataObject) -> None:
    content = bytearray(encode(noise(32), format))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found = loaded(tmp_path_factory.getbasetemp(), bytes(content))
    if found.reason:
        assert found in [image_loader.LoadedImage(None, reason) for reason in (UNREADABLE, TOO_SMALL)]
    else:
        assert found.image is not None
        assert found.image.shape == (32, 32, 1)


def test_images_in_an_object_store_are_read_alike(embedded: str) -> None:
    uri = storage.join(embedded, "preprocess", "image.png")
    content = encode(noise(32))
    assert image_loader.load(uri, md5(content), size=32) == image_loader.LoadedImage(None, "gone since ingest")
    storage.write_bytes(uri, content)
    found = image_loader.load(uri, md5(content), size=32)
    assert found[1:] == ("", "L", 32 * 32, False)
    np.testing.assert_array_equal(found.image, noise(32)[..., None])  # type: ignore[arg-type]


@pytest.mark.parametrize(("shape", "mode"), [((28, 28), "L"), ((40, 25, 3), "RGB"), ((224, 224), "L")])
def test_pixels_without_a_file_take_the_way_of_a_png(tmp_path: Path, shape: tuple[int, ...], mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = image_loader.load("set.npz#images/0", md5(pixels.tobytes()), pixels, size=32)
    np.testing.assert_array_equal(found.image, loaded(tmp_path, encode(pixels)).image)  # type: ignore[arg-type]
    assert found[1:] == ("", mode, shape[0] * shape[1], mode == "RGB")


def test_pixels_that_changed_since_ingest_are_set_aside() -> None:
    outcome = image_loader.load("set.npz#images/0", md5(noise(32).tobytes()), noise(32, 1), size=32)
    assert outcome == image_loader.LoadedImage(None, "changed since ingest")


def numbered(number: int) -> image_loader.LoadedImage:
    return image_loader.LoadedImage(None, str(number), "")


def dawdling(number: int) -> image_loader.LoadedImage:
    time.sleep(random.Random(number).random() / 500)
    return numbered(number)


@pytest.mark.parametrize("work", [numbered, dawdling])
@pytest.mark.parametrize("count", [0, 1, image_loader.READ_AHEAD - 1, image_loader.READ_AHEAD, 100])
def test_threads_keep_the_order(work: Callable[[int], image_loader.LoadedImage], count: int) -> None:
    results = image_loader.in_order(work, iter(range(count)))
    assert [int(result.reason) for result in results] == list(range(count))


def test_reading_never_runs_far_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(200):
            taken.append(number)
            yield number

    for done, _ in enumerate(image_loader.in_order(numbered, items()), 1):
        assert len(taken) <= done + image_loader.READ_AHEAD


def test_a_failing_store_stops_the_run() -> None:
    def broken(number: int) -> image_loader.LoadedImage:
        raise ConnectionError("no store")

    with pytest.raises(ConnectionError, match="no store"):
        list(image_loader.in_order(broken, iter(range(3))))
