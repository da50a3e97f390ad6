"""Decoding: the gray value for each image mode, resizing, and errors for unsupported content."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from radiograft.imaging.decode import as_served, decode, encode_png, inspect_image
from radiograft.imaging.geometry import ImageInput, boxes_in_square
from tests.helpers.images import encode, noise, png_of_header_only


def decoded(content: bytes, size: int = 32) -> np.ndarray:
    gray: np.ndarray = decode(tf.constant(content), ImageInput(size)).numpy()
    assert gray.dtype == np.uint8
    assert gray.shape == (size, size, 1)
    return gray[..., 0]


def flat(mode: str, color: Any) -> Image.Image:
    return Image.new(mode, (32, 32), color)


def palette(color: tuple[int, int, int]) -> Image.Image:
    image = flat("P", 1)
    image.putpalette([255, 255, 255, *color])
    return image


SIXTEEN_BITS = Image.fromarray(np.full((32, 32), 0xABCD, dtype=np.uint16))

# Luminance is 0.299 red + 0.587 green + 0.114 blue; libpng rounds green down.
GRAYS: list[tuple[str, Image.Image, str, int]] = [
    ("gray PNG", flat("L", 77), "PNG", 77),
    ("gray JPEG", flat("L", 77), "JPEG", 77),
    ("black and white", flat("1", 1), "PNG", 255),
    ("gray with alpha", flat("LA", (77, 10)), "PNG", 77),
    ("gray as color PNG", flat("RGB", (77, 77, 77)), "PNG", 77),
    ("gray as color JPEG", flat("RGB", (77, 77, 77)), "JPEG", 77),
    ("red", flat("RGB", (255, 0, 0)), "PNG", 76),
    ("green", flat("RGB", (0, 255, 0)), "PNG", 149),
    ("blue", flat("RGB", (0, 0, 255)), "PNG", 29),
    ("red JPEG", flat("RGB", (255, 0, 0)), "JPEG", 76),
    ("green JPEG", flat("RGB", (0, 255, 0)), "JPEG", 149),
    ("a color", flat("RGB", (10, 100, 200)), "PNG", 84),
    ("almost transparent", flat("RGBA", (200, 200, 200, 10)), "PNG", 200),
    ("colored with alpha", flat("RGBA", (255, 0, 0, 128)), "PNG", 76),
    ("palette of grays", palette((50, 50, 50)), "PNG", 50),
    ("palette of colors", palette((255, 0, 0)), "PNG", 76),
    ("16 bits", SIXTEEN_BITS, "PNG", 0xAB),
    ("white of four inks", flat("CMYK", (0, 0, 0, 0)), "JPEG", 255),
    ("half black of four inks", flat("CMYK", (0, 0, 0, 128)), "JPEG", 127),
    ("red of four inks", flat("CMYK", (0, 255, 255, 0)), "JPEG", 76),
]


@pytest.mark.parametrize(("image", "format", "gray"), [row[1:] for row in GRAYS], ids=[row[0] for row in GRAYS])
def test_decode_any_mode_returns_8_bit_gray(image: Image.Image, format: str, gray: int) -> None:
    options = {"quality": 100} if format == "JPEG" else {}
    pixels = decoded(encode(image, format, **options))
    np.testing.assert_allclose(pixels.astype(int), gray, atol=1 if format == "JPEG" else 0)


RED = (200, 30, 60)
COLORS: list[tuple[str, Image.Image, str, tuple[int, int, int]]] = [
    ("color PNG", flat("RGB", RED), "PNG", RED),
    ("color JPEG", flat("RGB", RED), "JPEG", RED),
    ("with alpha", flat("RGBA", (*RED, 10)), "PNG", RED),
    ("palette", palette(RED), "PNG", RED),
    ("four inks", flat("CMYK", (0, 255, 255, 0)), "JPEG", (255, 0, 0)),
    ("gray", flat("L", 77), "PNG", (77, 77, 77)),
    ("gray JPEG", flat("L", 77), "JPEG", (77, 77, 77)),
    ("gray with alpha", flat("LA", (77, 10)), "PNG", (77, 77, 77)),
    ("16 bits", SIXTEEN_BITS, "PNG", (0xAB, 0xAB, 0xAB)),
    ("BMP", flat("RGB", RED), "BMP", RED),
    ("GIF", palette(RED), "GIF", RED),
    ("TIFF", flat("RGB", RED), "TIFF", RED),
    ("TIFF of four inks", flat("CMYK", (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
    ("WebP", flat("RGB", RED), "WEBP", RED),
]


@pytest.mark.parametrize(("image", "format", "rgb"), [row[1:] for row in COLORS], ids=[row[0] for row in COLORS])
def test_decode_any_mode_for_rgb_returns_color(image: Image.Image, format: str, rgb: tuple[int, int, int]) -> None:
    options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
    content = as_served(encode(image, format, **options)).content
    pixels = decode(tf.constant(content), ImageInput(32, channels=3)).numpy()
    assert (pixels.dtype, pixels.shape) == (np.uint8, (32, 32, 3))
    np.testing.assert_allclose(pixels.astype(int), np.broadcast_to(rgb, (32, 32, 3)), atol=2 if format == "JPEG" else 0)


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_decode_rgb_moves_each_channel_as_a_gray_image(resize: str, orientation: int) -> None:
    """Fails if rows and channels are mixed up in resizing or turning."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    planes = [np.random.default_rng(seed).integers(0, 256, (50, 70), dtype=np.uint8) for seed in range(3)]
    content = encode(np.stack(planes, axis=-1), exif=exif)
    colored = decode(tf.constant(content), ImageInput(32, resize, channels=3)).numpy()
    for channel, plane in enumerate(planes):
        gray = decode(tf.constant(encode(plane, exif=exif)), ImageInput(32, resize)).numpy()
        np.testing.assert_array_equal(colored[..., channel], gray[..., 0])


def test_decode_gray_range_applies_to_gray_images_of_an_rgb_set() -> None:
    values = np.full((32, 32), 2048, np.uint16)
    pixels = decode(tf.constant(encode(values)), ImageInput(32, gray_range=(0, 4095), channels=3)).numpy()
    np.testing.assert_array_equal(pixels, 128)


def test_decode_image_of_target_size_keeps_pixels() -> None:
    np.testing.assert_array_equal(decoded(encode(noise(32))), noise(32))


def test_decode_16_bits_drops_lower_byte() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (32, 32)).astype(np.uint16)
    np.testing.assert_array_equal(decoded(encode(values)), values >> 8)


def test_decode_downsampling_averages_pixels() -> None:
    stripes = np.tile(
        np.array([255, 0, 0, 255], dtype=np.uint8), (64, 16)
    )  # of every four columns the middle two are black
    inner = decoded(encode(stripes), 16)[2:-2, 2:-2]
    np.testing.assert_array_equal(inner, 128)


def test_decode_ignores_aspect_ratio() -> None:
    wide = np.zeros((32, 128), dtype=np.uint8)
    wide[:, 64:] = 200
    pixels = decoded(encode(wide))
    np.testing.assert_array_equal(pixels[:, :14], 0)
    np.testing.assert_array_equal(pixels[:, 18:], 200)


@settings(max_examples=40, deadline=None)
@given(
    gray=st.integers(0, 255),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    size=st.sampled_from([32, 64]),
)
def test_decode_constant_image_stays_constant(gray: int, width: int, height: int, size: int) -> None:
    np.testing.assert_array_equal(decoded(encode(Image.new("L", (width, height), gray)), size), gray)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(16, 300),
    width=st.integers(16, 300),
    size=st.sampled_from([32, 96, 224]),
    seed=st.integers(0, 99),
)
def test_decode_resizing_equals_tf_image_resize(height: int, width: int, size: int, seed: int) -> None:
    """Published models serve the values of tf.image.resize."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    expected = tf.image.resize(pixels[..., None], [size, size], method="bilinear", antialias=True)
    np.testing.assert_array_equal(decoded(encode(pixels), size), np.round(expected)[..., 0])


def test_decode_in_graph_equals_eager() -> None:
    contents = [encode(noise(50, 1)), encode(noise(70, 2), "JPEG"), encode(flat("RGBA", (1, 2, 3, 4)))]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(encoded: tf.Tensor) -> tf.Tensor:
        signature = tf.TensorSpec([32, 32, 1], tf.uint8)
        return tf.map_fn(lambda content: decode(content, ImageInput(32)), encoded, fn_output_signature=signature)

    served = serve(tf.constant(contents)).numpy()[..., 0]
    np.testing.assert_array_equal(served, [decoded(content) for content in contents])


UNSUPPORTED = {
    "empty": b"",
    "text": b"not an image at all",
    "GIF": encode(flat("L", 7), "GIF"),
    "BMP": encode(flat("L", 7), "BMP"),
    "TIFF": encode(flat("L", 7), "TIFF"),
    "PNG without pixels": png_of_header_only(32, 32),
}


@pytest.mark.parametrize("content", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_decode_unsupported_content_raises(content: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(tf.constant(content), ImageInput(32))


@settings(max_examples=60, deadline=None)
@given(format=st.sampled_from(["PNG", "JPEG"]), data=st.data())
def test_decode_truncated_file_raises(format: str, data: st.DataObject) -> None:
    content = encode(noise(40), format)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(tf.constant(content[:length]), ImageInput(32))


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (flat("L", 7), "L"),
        (flat("RGB", (1, 2, 3)), "RGB"),
        (flat("RGBA", (1, 2, 3, 4)), "RGBA"),
        (palette((1, 2, 3)), "P"),
        (SIXTEEN_BITS, "I;16"),
    ],
)
def test_inspect_image_returns_mode_and_size(image: Image.Image, mode: str) -> None:
    assert inspect_image(encode(image)) == (mode, image.height, image.width)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image at all",
        encode(noise(32))[:20],
        *(encode(noise(32), kind) for kind in ("GIF", "BMP", "TIFF")),
    ],
)
def test_inspect_image_invalid_content_raises(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a readable image"):
        inspect_image(content)


def test_inspect_image_checks_pixel_limit_from_header() -> None:
    assert inspect_image(png_of_header_only(8000, 8000)) == ("L", 8000, 8000)
    with pytest.raises(ValueError, match="at most 64000000 pixels"):
        inspect_image(png_of_header_only(8000, 8001))


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])
def test_inspect_image_decompression_bomb_raises(side: int) -> None:
    with pytest.raises(ValueError, match="image"):
        inspect_image(png_of_header_only(side, side))


@settings(deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), color=st.booleans(), seed=st.integers(0, 2**32))
def test_encode_png_is_lossless(height: int, width: int, color: bool, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)[: 2 + color], dtype=np.uint8)
    with Image.open(io.BytesIO(encode_png(pixels))) as image:
        assert (image.format, image.mode) == ("PNG", "RGB" if color else "L")
        np.testing.assert_array_equal(np.asarray(image), pixels)


@settings(max_examples=60, deadline=None)
@given(
    orientation=st.integers(0, 9),
    format=st.sampled_from(["PNG", "JPEG"]),
    endian=st.sampled_from("<>"),
    others=st.dictionaries(st.sampled_from([0x010E, 0x010F, 0x0131]), st.text("abc", max_size=9), max_size=3),
    target=st.sampled_from([ImageInput(32), ImageInput(32, "pad")]),
)
def test_decode_applies_exif_orientation_as_pillow(
    orientation: int, format: str, endian: str, others: dict[int, str], target: ImageInput
) -> None:
    """Fails if photographs of films are learned lying on their side."""
    tags = Image.Exif()
    tags.endian = endian
    for tag, value in (others | {0x0112: orientation}).items():
        tags[tag] = value
    content = encode(np.kron(noise(6)[:4], np.ones((8, 8), np.uint8)), format, exif=tags)
    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image)
    np.testing.assert_array_equal(
        decode(tf.constant(content), target), decode(tf.constant(encode(upright, "PNG")), target)
    )
    assert inspect_image(content)[1:] == (upright.height, upright.width)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_decode_corrupt_exif_decodes_pixels(data: st.DataObject) -> None:
    """Fails if a malformed tag makes an image unreadable, in training or in a server."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010E] = 6, "text"
    content = bytearray(encode(noise(32), "JPEG", exif=tags))
    start = content.index(b"Exif") + 6
    for _ in range(data.draw(st.integers(1, 6))):
        content[start + data.draw(st.integers(0, len(tags.tobytes()) - 7))] = data.draw(st.integers(0, 255))
    pixels, plain = decoded(bytes(content)), decoded(encode(noise(32), "JPEG"))
    turned = [np.rot90(flipped, turns) for flipped in (plain, plain[:, ::-1]) for turns in range(4)]
    assert any(np.array_equal(pixels, candidate) for candidate in turned)


def test_decode_gray_range_scales_16_bit_values_only() -> None:
    """Fails if 12 bits in 16 keep 16 of 256 gray levels, or if images of 8 bits change."""
    values = np.random.default_rng(0).integers(0, 4096, (32, 32)).astype(np.uint16)
    target = ImageInput(32, gray_range=(0, 4095))
    np.testing.assert_array_equal(decode(tf.constant(encode(values)), target)[..., 0], np.round(values * (255 / 4095)))
    np.testing.assert_array_equal(decode(tf.constant(encode(noise(32))), target)[..., 0], noise(32))
    shifted = ImageInput(32, gray_range=(1000, 2000))
    expected = np.round((np.clip(values, 1000, 2000) - 1000.0) * 0.255)
    np.testing.assert_allclose(decode(tf.constant(encode(values)), shifted)[..., 0], expected, atol=1)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(16, 200), width=st.integers(16, 200), size=st.sampled_from([32, 96]))
def test_decode_pad_keeps_aspect_ratio(height: int, width: int, size: int) -> None:
    """A white image fills exactly the rectangle into which boxes are mapped."""
    target = ImageInput(size, "pad")
    pixels = decode(tf.constant(encode(np.full((height, width), 255, np.uint8))), target).numpy()[..., 0]
    ((x, y, columns, rows),) = np.round(
        size * boxes_in_square(np.array([[0, 0, 1, 1]]), np.array([[height, width]]), target)
    ).astype(int)
    assert max(columns, rows) == size
    assert abs(columns * height - rows * width) <= max(height, width)
    np.testing.assert_array_equal(pixels[y : y + rows, x : x + columns], 255)
    assert pixels.sum() == 255 * rows * columns
    assert abs(pixels.shape[0] - 2 * y - rows) <= 1
    assert abs(pixels.shape[1] - 2 * x - columns) <= 1


def smooth(height: int, width: int, mode: str = "L") -> Image.Image:
    """Returns an image without fine detail, of which every reduction looks the same."""
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, *shape[2:]), dtype="uint8")
    return Image.fromarray(coarse, mode).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("height", "width", "ratio"),
    [(127, 200, 1), (128, 200, 2), (254, 300, 2), (256, 300, 4), (512, 600, 8), (900, 64, 1)],
)
def test_decode_reduced_jpeg_keeps_twice_the_target(height: int, width: int, ratio: int) -> None:
    """Fails if an image is reduced further than to 64 pixels for a target of 32, or not as far."""
    content = tf.constant(encode(np.asarray(smooth(height, width)), "JPEG"))
    reduced = tf.io.decode_jpeg(content, channels=1, ratio=ratio)
    expected = decode(tf.constant(encode_png(reduced.numpy()[..., 0])), ImageInput(32))
    np.testing.assert_array_equal(decode(content, ImageInput(32, reduced_jpeg=True)), expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("resize", ["stretch", "pad"])
def test_decode_reduced_jpeg_looks_like_whole_one(mode: str, channels: int, orientation: int, resize: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = tf.constant(encode(smooth(260, 530, mode), "JPEG", exif=exif, quality=95))
    target = ImageInput(32, resize, channels=channels)
    whole, reduced = (decode(content, each).numpy() for each in (target, target._replace(reduced_jpeg=True)))
    assert np.abs(whole.astype(int) - reduced).mean() < 1
    assert (whole != reduced).any()


def test_decode_reduced_jpeg_of_png_changes_nothing() -> None:
    content = tf.constant(encode(noise(300)))
    np.testing.assert_array_equal(decode(content, ImageInput(32, reduced_jpeg=True)), decode(content, ImageInput(32)))


def test_decode_reduced_jpeg_truncated_raises() -> None:
    content = encode(np.asarray(smooth(300, 300)), "JPEG")
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(tf.constant(content[: len(content) // 2]), ImageInput(32, reduced_jpeg=True))
