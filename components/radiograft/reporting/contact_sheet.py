"""The contact sheet: a few training images, each beside views of it as augmentation makes them."""

from __future__ import annotations

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from radiograft.config.augmentation import Augmentation
from radiograft.data.shards.dataset import Shards
from radiograft.imaging.augment import augment, draw_parameters

IMAGES = 6
AUGMENTED_COPIES = 5
GAP = 4
MAX_HEIGHT = 160


def training_contact_sheet(data: Shards, seed: int) -> bytes:
    """The sheet of the first IMAGES training images; `seed` is the training's."""
    images, ids, _ = next(iter(data.examples("train").take(IMAGES).batch(IMAGES)))
    return draw_contact_sheet(images, ids, data.augmentation, seed)


def draw_contact_sheet(images: tf.Tensor, ids: tf.Tensor, augmentation: Augmentation, seed: int) -> bytes:
    """A gray PNG file: a column an image, the stored one on top and VIEWS augmented views below.

    Args:
        images: uint8 [n, size, size, 1].
        ids: string [n].
    """
    rows = [images] + [
        augment(images, draw_parameters(ids, tf.constant(view), seed), augmentation) for view in range(AUGMENTED_COPIES)
    ]
    grid = np.stack([row.numpy()[..., 0] for row in rows])  # [views, images, size, size]
    spaced = np.pad(grid, [(0, 0), (0, 0), (GAP, 0), (GAP, 0)], constant_values=255)
    sheet = Image.fromarray(np.block([list(row) for row in spaced]))
    scale = min(1.0, MAX_HEIGHT / images.shape[1])
    smaller = sheet.resize((round(sheet.width * scale), round(sheet.height * scale)), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    smaller.save(content, "PNG", optimize=True)
    return content.getvalue()
