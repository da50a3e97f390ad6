"""Burns a note into an image file, below the image, where no viewer can leave it out."""

from __future__ import annotations

import io
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MIN_FONT, FONT_SHARE = 10, 1 / 50  # pixels, and of the width of the image
CHARACTER = 0.62  # mean width of a character of Pillow's default font, in sizes of the font; a line may be shorter
LINE = 1.4  # height of a line, in sizes of the font


def with_note(pixels: np.ndarray, note: str) -> bytes:
    """Returns a PNG file of the image above a black strip with the note in white. The image itself is unchanged.

    Args:
        pixels: uint8 [height, width, channels] with 1 or 3 channels, or [height, width].
        note: wrapped to the width of the image.
    """
    image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)
    size = max(MIN_FONT, round(image.width * FONT_SHARE))
    lines = textwrap.wrap(note, max(1, int(image.width / (CHARACTER * size))))
    height = round(LINE * size)
    canvas = Image.new(image.mode, (image.width, image.height + height * len(lines) + size // 2))
    canvas.paste(image)
    font, white = ImageFont.load_default(size), 255 if image.mode == "L" else (255, 255, 255)
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        draw.text((size // 2, image.height + number * height + size // 4), line, white, font)
    content = io.BytesIO()
    canvas.save(content, "PNG", optimize=True)
    return content.getvalue()
