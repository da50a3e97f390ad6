"""One range of gray values for all 16-bit images of a dataset."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radiograft import storage
from radiograft.data import gray_range
from tests.helpers.archives import zipped
from tests.helpers.images import encode, noise, png_of_16_bits, tiff


def rows_of(files: dict[str, bytes], place: str) -> pd.DataFrame:
    """Writes files and returns their rows of a catalog."""
    for name, content in files.items():
        storage.write_bytes(f"{place}/{name}", content)
    frame = pd.DataFrame({"image_id": list(files), "uri": [f"{place}/{name}" for name in files]}, dtype="string")
    return frame.assign(md5=[hashlib.md5(content).hexdigest() for content in files.values()])


def with_values(low: int, high: int, seed: int = 0, format: str = "PNG") -> bytes:
    """Returns an image with values from low to high."""
    values = np.random.default_rng(seed).integers(low, high, (40, 40), endpoint=True)
    values[0, 0], values[0, 1] = low, high
    return encode(Image.fromarray(values.astype(np.uint16)), format)


def with_channels(channels: int, high: int) -> bytes:
    """Returns a PNG with equal channels and, of 2 or 4, a full alpha channel."""
    values = np.random.default_rng(0).integers(0, high, (40, 40, channels), endpoint=True).astype(np.uint16)
    values[..., :] = values[..., :1]
    if channels in (2, 4):
        values[..., -1] = 65535
    return png_of_16_bits(values)


def with_marker(high: int) -> bytes:
    values = np.random.default_rng(0).integers(0, high, (100, 100))
    values[0, :5] = 65535
    return encode(values.astype(np.uint16))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([with_values(0, 4095)], (0, 4095)),
        ([with_values(20, 900), with_values(100, 3000, 1)], (0, 4095)),
        ([with_values(0, 255)], (0, 255)),
        ([with_values(0, 4095, format="TIFF")], (0, 4095)),
        ([with_values(0, 4095), encode(noise(32))], (0, 4095)),
        ([tiff(np.arange(4096, dtype="<u4").reshape(64, 64))], (0, 4095)),
        ([tiff(np.arange(70_000, dtype="<u4").reshape(200, 350)), with_values(0, 4095)], (0, 4095)),
        ([with_marker(4095)], (0, 4095)),
        *(([with_channels(channels, 4095)], (0, 4095)) for channels in (2, 3, 4)),
        ([with_channels(3, 65535)], None),
        ([tiff((65535 - np.arange(4096)).astype("<u2").reshape(64, 64), white_is_zero=True)], (0, 4095)),
        ([with_values(0, 65535)], None),
        ([with_values(300, 65000), with_values(0, 4095, 1)], None),
        ([encode(noise(32)), encode(noise(32), "JPEG")], None),
        ([encode(np.full((32, 32), 700, np.uint16))], None),
        ([b"", with_values(0, 4095)[:60]], None),
    ],
    ids=["12 bits", "dark and bright", "8 bits in 16", "TIFF", "with others", "TIFF of 32 bits",
         "TIFF that is set aside", "marker", "gray and alpha", "RGB", "RGBA", "RGB of 16 bits",
         "white is zero", "16 bits",
         "16 bits and 12", "8 bits", "constant", "corrupt"],
)  # fmt: skip
def test_measure_returns_range_of_dataset(files: list[bytes], expected: tuple[int, int] | None, tmp_path: Path) -> None:
    rows = rows_of({f"{number}.png": content for number, content in enumerate(files)}, str(tmp_path))
    assert gray_range.measure(rows) == expected


def test_measure_values_far_from_zero_returns_both_ends(tmp_path: Path) -> None:
    """Fails if CT values stored with an offset of 32,768 keep 8 of 256 gray levels."""
    found = gray_range.measure(rows_of({"a.png": with_values(32768 - 1024, 32768 + 1024)}, str(tmp_path)))
    assert found is not None
    np.testing.assert_allclose(found, (31744, 33792), atol=8)  # without 0.1% of the values at each end


def test_measure_does_not_depend_on_names_and_place(place: str, tmp_path: Path) -> None:
    """Fails if workers, or a moved dataset, find different ranges."""
    contents = [with_values(0, 2**bits - 1, bits) for bits in (9, 10, 11, 12)]
    rows = rows_of({f"{number}.png": content for number, content in enumerate(contents)}, place)
    renamed = rows_of({f"x/{9 - number}.png": content for number, content in enumerate(contents)}, str(tmp_path))
    assert gray_range.measure(rows) == gray_range.measure(renamed) == gray_range.measure(rows[::-1]) == (0, 4095)


def test_measure_reads_members_of_archives(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({f"{number}.png": with_values(0, 1023, number) for number in range(3)}))
    uris = [f"{tmp_path}/a.zip#{number}" for number in range(3)]
    rows = pd.DataFrame({"image_id": uris, "uri": uris, "md5": "x"}, dtype="string")
    assert gray_range.measure(rows) == (0, 1023)


def test_measure_missing_files_are_skipped(tmp_path: Path) -> None:
    rows = rows_of({"a.png": with_values(0, 4095), "b.png": with_values(0, 4095, 1)}, str(tmp_path))
    (tmp_path / "a.png").unlink()
    assert gray_range.measure(rows) == (0, 4095)
