"""A table of phantom images with a bright disk, whose size and position are the numbers to predict."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from radiograft.config import Ingest
from tests.helpers.images import encode

SIDE = 64  # pixels
IMAGES = 72
SIZES = (6.0, 18.0)  # pixels, smallest and largest diameter


def disk_image(diameter: float, seed: int) -> np.ndarray:
    """Returns uint8 [SIDE, SIDE] with a bright disk at a random place on a dark, noisy ground."""
    rng = np.random.default_rng(seed)
    center = rng.uniform(SIDE / 2 - 8, SIDE / 2 + 8, 2)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = np.hypot(rows - center[0], columns - center[1]) <= diameter / 2
    return (30 + 180 * inside + rng.integers(0, 20, (SIDE, SIDE))).astype("uint8")


def write_disks(folder: Path, images: int = IMAGES, first: int = 0) -> Path:
    """Writes images and a table with the columns image, patient, sex, diameter and area; returns the table.

    Each patient has two images. Every ninth area is unknown. `first` is the number of the first image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "disks.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "patient", "sex", "diameter", "area"])
        for number in range(first, first + images):
            diameter = SIZES[0] + (SIZES[1] - SIZES[0]) * ((number * 37) % 101) / 100
            (folder / f"{number}.png").write_bytes(encode(disk_image(diameter, number)))
            area = "n/a" if number % 9 == 0 else f"{np.pi * diameter**2 / 4:.2f}"
            row = [f"{number}.png", f"p{number // 2}", "MF"[number // 2 % 2], f"{diameter:.2f}", area]
            writer.writerow(row)
    return table


def disk_studies(folder: Path) -> Ingest:
    """Writes 24 studies of two images each, whose diameter is the number to predict; returns the settings."""
    lines = ["image,patient,study,view,sex,diameter"]
    for number in range(48):
        (folder / f"{number}.png").write_bytes(encode(disk_image(6.0 + number // 2 % 12, number)))
        view, sex = ("PA", "LL")[number % 2], "MF"[number // 2 % 2]
        lines.append(f"{number}.png,p{number // 2},s{number // 2},{view},{sex},{6 + number // 2 % 12}")
    (folder / "disks.csv").write_text("\n".join(lines))
    return Ingest(
        data_format="table", data_source=str(folder / "disks.csv"), data_labels="diameter", data_task="regression",
        data_unit="study", data_table="study=study", data_validation_fraction=0.3, data_test_fraction=0.3,
    )  # fmt: skip
