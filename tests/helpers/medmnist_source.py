"""A small data set in MedMNIST's format: six training, three validation and three test images."""

from __future__ import annotations

import numpy as np

COUNTS = {"train": 6, "val": 3, "test": 3}
BINARY = {"train": [0, 1, 1, 0, 1, 0], "val": [1, 0, 1], "test": [0, 0, 1]}


def medmnist_arrays(
    shape: tuple[int, ...] = (28, 28), labels: dict[str, list[int]] | dict[str, list[list[int]]] = BINARY
) -> dict[str, np.ndarray]:
    """Returns noise images and labels.

    Args:
        shape: of each image, [height, width] or [height, width, 3].
        labels: per split, a number or a list of numbers for each image.
    """
    rng = np.random.default_rng(0)
    images = {f"{part}_images": rng.integers(0, 256, (n, *shape), dtype=np.uint8) for part, n in COUNTS.items()}
    truth = {f"{part}_labels": np.array(labels[part], np.uint8).reshape(n, -1) for part, n in COUNTS.items()}
    return images | truth
