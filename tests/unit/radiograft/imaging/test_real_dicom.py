"""The real files of the pydicom-data wheel: one chest radiograph in three codings, and what is no radiograph."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from radiograft.imaging.dicom import Tags, UnsupportedDicomError, read
from tests.helpers.dicom_files import written


def content(name: str) -> bytes:
    path = get_testdata_file(name, read=False, download=False)
    if path is None:
        pytest.skip("the wheel pydicom-data is not installed: no real DICOM files to test on")
    with open(str(path), "rb") as file:  # noqa: PTH123  pydicom gives a path as text
        return file.read()


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    return read(content("RG1_UNCR.dcm")).pixels


def test_the_chest_radiograph_is_upright_with_bright_bones(raw: np.ndarray) -> None:
    assert raw.shape == (1955, 1841)
    blocks = raw[:1950, :1840].reshape(5, 390, 5, 368).mean(axis=(1, 3))
    assert blocks[:, 2].min() > 195  # the spine
    assert blocks[1, [1, 3]].max() < 150  # the lungs' upper parts
    assert blocks[4, [1, 3]].min() > 215  # the belly


@pytest.mark.parametrize(("name", "most"), [("RG1_J2KR.dcm", 0), ("RG1_J2KI.dcm", 3), ("RG1_UNCI.dcm", 3)])
def test_every_coding_ends_as_the_same_image(raw: np.ndarray, name: str, most: int) -> None:
    assert np.abs(read(content(name)).pixels.astype(int) - raw).max() <= most


@pytest.mark.parametrize("coding", ["implicit", "bigendian", "RLE", "jpeg_ls_lossless", "jp2klossless"])
def test_every_lossless_coding_of_signed_values_ends_as_the_same_image(coding: str) -> None:
    """On pydicom's own small scan, which is told to be a radiograph."""

    def relabeled(name: str) -> np.ndarray:
        dataset = dcmread(io.BytesIO(content(name)))
        dataset.Modality = "CR"
        return read(written(dataset)).pixels

    np.testing.assert_array_equal(relabeled(f"MR_small_{coding}.dcm"), relabeled("MR_small.dcm"))


def test_its_tags_are_read() -> None:
    uid = "1.3.6.1.4.1.5962.1.1.9.1.1.20040826185059.5457"
    assert read(content("RG1_UNCR.dcm")).tags == Tags("9RG1", uid, "PA", "F", None, False)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *[(f"MR2_{coding}.dcm", "modality MR is no radiograph (CR, DX, RG)") for coding in ("UNCR", "J2KR", "J2KI")],
        *[(f"US1_{coding}.dcm", "modality US is no radiograph (CR, DX, RG)") for coding in ("UNCR", "J2KR", "J2KI")],
        *[(f"693_{coding}.dcm", "modality CT is no radiograph (CR, DX, RG)") for coding in ("UNCR", "J2KR", "J2KI")],
        ("liver.dcm", "modality SEG is no radiograph (CR, DX, RG)"),
        ("image_dfl.dcm", "deflated DICOM file, which is not read"),
    ],
)
def test_other_files_are_set_aside_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(UnsupportedDicomError) as error:
        read(content(name))
    assert str(error.value) == reason
