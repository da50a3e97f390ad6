"""Artifacts of MedMNIST-C that are drawn on an image: stains, bubbles, black corners and letters.

Every function takes an image, uint8 [height, width, channels], a strength and a random generator, and returns a changed
copy. Sizes are in pixels of an image of 224 px. In medmnistc, stains are scanned ink and letters those of OpenCV.
"""

from __future__ import annotations

import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

MIN_BUBBLES, MIN_RADIUS, BUBBLE_EDGE = 7, 3, 2
BUBBLE_ALPHA, EDGE_ALPHA = 100, 130  # of 255
STAIN_RADII = (5, 12)
MARGIN = 10
MIN_LETTERS, MIN_FONT_SCALE = 3, 0.14
LETTER_WIDTH = 8  # kept free for each letter
FONT_HEIGHT = 30  # of OpenCV's font at scale 1


def add_stains(image: np.ndarray, most: float, generator: np.random.Generator) -> np.ndarray:
    """Draws up to `most` black stains with soft edges."""
    height, width = image.shape[:2]
    ink = np.zeros((height, width))
    rows, columns = np.mgrid[:height, :width]
    for _ in range(_draw(generator, 1, int(most))):
        row, column = generator.uniform(0, height), generator.uniform(0, width)
        for _ in range(5):  # overlapping disks
            radius = generator.uniform(*STAIN_RADII)
            down, right = generator.uniform(-radius, radius, 2)
            ink[(rows - row - down) ** 2 + (columns - column - right) ** 2 <= radius**2] = 1
    stained: np.ndarray = (image * (1 - gaussian_filter(ink, 1.5)[..., np.newaxis])).astype(np.uint8)
    return stained


def add_bubbles(image: np.ndarray, strength: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Draws whitish, transparent disks; `strength` is the largest radius and the largest number."""
    largest, most = strength
    drawn = _to_color(image)
    bubbles = Image.new("RGBA", drawn.size, (255, 255, 255, 0))
    draw = ImageDraw.Draw(bubbles)
    for _ in range(_draw(generator, MIN_BUBBLES, most)):
        radius = min(_draw(generator, MIN_RADIUS, largest), min(drawn.size) // 2)
        x, y = (_draw(generator, radius, side - radius) for side in drawn.size)
        for grown, alpha in ((radius + BUBBLE_EDGE, EDGE_ALPHA), (radius, BUBBLE_ALPHA)):
            draw.ellipse((x - grown, y - grown, x + grown, y + grown), fill=(255, 255, 255, alpha))
    drawn.paste(bubbles, (0, 0), bubbles)
    return np.asarray(drawn)[..., : image.shape[2]]


def blacken_corners(image: np.ndarray, factor: float, _: np.random.Generator) -> np.ndarray:
    """Blackens everything outside a centered disk, whose radius is `factor` times half of the shorter side."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    radius = int(min(height // 2, width // 2) * factor)
    inside = (rows - height // 2) ** 2 + (columns - width // 2) ** 2 <= radius**2
    return np.asarray(image * inside[..., np.newaxis])


def add_characters(image: np.ndarray, strength: tuple[int, int, float], generator: np.random.Generator) -> np.ndarray:
    """Writes words of random letters and colors; `strength` is their largest number, length and font scale."""
    words, longest, largest = strength
    drawn = _to_color(image)
    draw = ImageDraw.Draw(drawn)
    for _ in range(_draw(generator, 1, words)):
        length = _draw(generator, MIN_LETTERS, longest)
        scale = _draw(generator, round(MIN_FONT_SCALE * 100), round(largest * 100)) / 100
        text = "".join(generator.choice(list(string.ascii_lowercase), length))
        x = _draw(generator, MARGIN, drawn.width - LETTER_WIDTH * length)
        y = _draw(generator, MARGIN, drawn.height - MARGIN)
        color = tuple(int(part) for part in generator.integers(0, 256, 3))
        draw.text((x, y), text, color, ImageFont.load_default(FONT_HEIGHT * scale), anchor="ls")
    return np.asarray(drawn)[..., : image.shape[2]]


def _draw(generator: np.random.Generator, low: int, high: int) -> int:
    """Returns a random whole number from low to high; the same random state gives a larger one for a larger bound."""
    return low + int(generator.random() * (max(high, low) - low + 1))


def _to_color(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image)
