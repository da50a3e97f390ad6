"""Whether a dataset is in color is decided by a sample, the same for all workers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radiograft import storage
from radiograft.data import color
from radiograft.data.color import ColorSample, sample_colors
from radiograft.storage import npz_archive
from tests.helpers.archives import pack, zipped
from tests.helpers.colors import RED, disk
from tests.helpers.dicom_files import dicom_file
from tests.helpers.images import encode, noise

COLORED, GRAY = encode(disk(RED, 0)), encode(noise(32))
PHOTOGRAPH = dicom_file(disk(RED, 1), Modality="XC", SamplesPerPixel=3, PhotometricInterpretation="RGB",
                        PlanarConfiguration=0)  # fmt: skip


def rows_of(uris: list[str]) -> pd.DataFrame:
    md5s = [hashlib.md5(uri.encode()).hexdigest() for uri in uris]
    return pd.DataFrame({"image_id": uris, "uri": uris, "md5": md5s}, dtype="string")


def written(contents: list[bytes], folder: str) -> pd.DataFrame:
    uris = [f"{folder}/{number}" for number in range(len(contents))]
    for uri, content in zip(uris, contents, strict=True):
        storage.write_bytes(uri, content)
    return rows_of(uris)


@pytest.mark.parametrize(
    ("contents", "expected", "channels"),
    [
        ([GRAY, GRAY, GRAY], (3, 0), 1),
        ([COLORED, COLORED, GRAY], (3, 2), 3),
        ([COLORED, GRAY], (2, 1), 1),
        ([COLORED, GRAY, GRAY], (3, 1), 1),
        ([encode(noise(32)[..., None].repeat(3, axis=-1))], (1, 0), 1),
        ([encode(disk(RED, 0), kind) for kind in ("JPEG", "BMP", "TIFF", "WEBP", "GIF")], (5, 5), 3),
        ([PHOTOGRAPH, dicom_file(noise(32))], (2, 1), 1),
        ([b"", b"no image", COLORED[:60], COLORED], (1, 1), 3),
        ([], (0, 0), 1),
    ],
    ids=["gray", "most", "half", "few", "gray as RGB", "formats", "DICOM", "corrupt", "none"],
)
def test_sample_colors_counts_readable_files(
    contents: list[bytes], expected: tuple[int, int], channels: int, tmp_path: Path
) -> None:
    sample = sample_colors(written(contents, str(tmp_path)))
    assert (sample, sample.channels) == (expected, channels)


def test_sample_colors_radiographs_with_colored_mark_stay_gray(tmp_path: Path) -> None:
    """Fails if a small colored letter makes a radiograph an image in color."""
    marked = noise(200)[..., None].repeat(3, axis=-1)
    marked[:12, :12] = RED
    assert sample_colors(written([encode(marked)] * 2, str(tmp_path))) == (2, 0)


@pytest.mark.parametrize(("shape", "expected"), [((28, 28), (80, 0)), ((28, 28, 3), (80, 80))])
def test_sample_colors_arrays_reads_their_first_rows(
    shape: tuple[int, ...], expected: tuple[int, int], tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (48, *shape), dtype=np.uint8)
    uri = pack(str(tmp_path / "set.npz"), train=images, val=images[:16], test=images)
    uris = [npz_archive.row_uri(uri, name, row) for name, n in (("train", 48), ("val", 16), ("test", 48))
            for row in range(n)]  # fmt: skip
    assert sample_colors(rows_of(uris)) == expected


def test_sample_colors_members_of_archives(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "set.zip"), zipped({"a.png": COLORED, "b.png": COLORED, "c.png": GRAY}))
    assert sample_colors(rows_of([f"{tmp_path}/set.zip#{number}" for number in range(3)])) == (3, 2)


def test_sample_colors_is_bounded_and_independent_of_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if workers that read the catalog in another order decide otherwise."""
    monkeypatch.setattr(color, "MAX_FILES", 5)
    rows = written([COLORED, GRAY] * 10, str(tmp_path))
    sample = sample_colors(rows)
    assert sample.images == 5
    assert sample_colors(rows[::-1]) == sample


def test_channels_tie_is_gray() -> None:
    assert [ColorSample(4, number).channels for number in (0, 2, 3)] == [1, 1, 3]


@pytest.mark.parametrize(
    ("folder", "images", "channels"),
    [("ham10000_224", "*/*.jpg", 3), ("bccd_cells_64", "*/*.png", 3), ("chestxray14/images_001/images", "*.png", 1)],
)
def test_sample_colors_real_sets(folder: str, images: str, channels: int, test_data: Path) -> None:
    sample = sample_colors(rows_of([str(path) for path in (test_data / folder).glob(images)]))
    assert (sample.images, sample.channels) == (128, channels)
    assert sample.in_color > 115 if channels == 3 else sample.in_color == 0
