"""Boxes follow the pixels when an image is turned upright."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.imaging.dicom import Frame, UnsupportedDicomError, read_frame
from radiograft.imaging.dicom_pixels import orient_boxes, orient_upright
from tests.helpers.dicom_files import dicom_file

HEIGHT, WIDTH = 12, 20
ORIENTATIONS = [(), ("L",), *(pair for a in "LRAP" for b in "HF" for pair in ((a, b), (b, a))), ("LF", "FP")]


@given(
    st.sampled_from(ORIENTATIONS),
    st.integers(0, WIDTH - 2),
    st.integers(0, HEIGHT - 2),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_orient_boxes_box_encloses_same_pixels(
    orientation: tuple[str, ...], left: int, top: int, width: int, height: int
) -> None:
    pixels = np.zeros((HEIGHT, WIDTH))
    pixels[top : top + height, left : left + width] = 1
    height, width = min(height, HEIGHT - top), min(width, WIDTH - left)
    box = np.array([[left / WIDTH, top / HEIGHT, width / WIDTH, height / HEIGHT]])
    upright = orient_upright(pixels, orientation)
    rows, columns = np.nonzero(upright)
    ends = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    x0, y0, x1, y1 = ends / np.tile(upright.shape[::-1], 2)
    np.testing.assert_allclose(orient_boxes(box, orientation), [[x0, y0, x1 - x0, y1 - y0]], atol=1e-12)


def test_read_frame_returns_size_and_orientation() -> None:
    content = dicom_file(np.zeros((HEIGHT, WIDTH), np.uint8), PatientOrientation=["L", "F"])
    assert read_frame(io.BytesIO(content)) == Frame(HEIGHT, WIDTH, ("L", "F"))
    assert read_frame(io.BytesIO(dicom_file(np.zeros((HEIGHT, WIDTH), np.uint8)))) == Frame(HEIGHT, WIDTH, ())
    with pytest.raises(UnsupportedDicomError, match="not a DICOM file"):
        read_frame(io.BytesIO(b"text"))
