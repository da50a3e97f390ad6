"""Contact sheet: a few training images, each above its augmented copies."""

from __future__ import annotations

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from radiograft.config.augmentation import Augmentation
from radiograft.data.shards.dataset import Shards
from radiograft.imaging.augment import augment, draw_parameters

IMAGES = 6
AUGMENTED_COPIES = 3
GAP = 4
MAX_HEIGHT = 160


def training_contact_sheet(data: Shards, seed: int) -> bytes:
    """Returns the contact sheet of the first IMAGES training images as a PNG file; `seed` is the training seed."""
    images, ids, _ = next(iter(data.examples("train").take(IMAGES).batch(IMAGES)))
    return draw_contact_sheet(images, ids, data.augmentation, seed)


def draw_contact_sheet(images: tf.Tensor, ids: tf.Tensor, augmentation: Augmentation, seed: int) -> bytes:
    """Returns a PNG file, gray as its images or RGB: one column per image, the original above augmented copies.

    Args:
        images: uint8 [n, size, size, channels].
        ids: string [n] image ids.
        augmentation: the augmentation to apply.
        seed: the training seed.
    """
    rows = [images] + [
        augment(images, draw_parameters(ids, tf.constant(copy), seed), augmentation) for copy in range(AUGMENTED_COPIES)
    ]
    grid = np.stack([row.numpy() for row in rows])  # [rows, images, size, size, channels]
    spaced = np.pad(grid, [(0, 0), (0, 0), (GAP, 0), (GAP, 0), (0, 0)], constant_values=255)
    pixels = np.concatenate([np.concatenate(row, axis=1) for row in spaced])
    sheet = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    scale = min(1.0, MAX_HEIGHT / images.shape[1])
    resized = sheet.resize((round(sheet.width * scale), round(sheet.height * scale)), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    resized.save(content, "PNG", optimize=True)
    return content.getvalue()
