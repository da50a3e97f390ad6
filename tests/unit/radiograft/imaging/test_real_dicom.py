"""Real files of the pydicom-data wheel: one chest radiograph in three codings, and unsupported files."""

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
    with open(str(path), "rb") as file:  # noqa: PTH123  pydicom returns the path as a string
        return file.read()


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    return read(content("RG1_UNCR.dcm")).pixels


def test_read_chest_radiograph_is_upright_with_bright_bones(raw: np.ndarray) -> None:
    assert raw.shape == (1955, 1841)
    blocks = raw[:1950, :1840].reshape(5, 390, 5, 368).mean(axis=(1, 3))
    assert blocks[:, 2].min() > 195  # the spine
    assert blocks[1, [1, 3]].max() < 150  # the lungs' upper parts
    assert blocks[4, [1, 3]].min() > 215  # the belly


@pytest.mark.parametrize(("name", "tolerance"), [("RG1_J2KR.dcm", 0), ("RG1_J2KI.dcm", 3), ("RG1_UNCI.dcm", 3)])
def test_read_any_transfer_syntax_returns_same_image(raw: np.ndarray, name: str, tolerance: int) -> None:
    assert np.abs(read(content(name)).pixels.astype(int) - raw).max() <= tolerance


@pytest.mark.parametrize("coding", ["implicit", "bigendian", "RLE", "jpeg_ls_lossless", "jp2klossless"])
def test_read_lossless_coding_of_signed_values_returns_same_image(coding: str) -> None:
    """Uses pydicom's small MR scan, relabeled as a radiograph."""

    def relabeled(name: str) -> np.ndarray:
        dataset = dcmread(io.BytesIO(content(name)))
        dataset.Modality = "CR"
        return read(written(dataset)).pixels

    np.testing.assert_array_equal(relabeled(f"MR_small_{coding}.dcm"), relabeled("MR_small.dcm"))


def test_read_returns_tags() -> None:
    uid, study = "1.3.6.1.4.1.5962.1.1.9.1.1.20040826185059.5457", "1.3.6.1.4.1.5962.1.2.9.20040826185059.5457"
    tags = Tags("9RG1", uid, "PA", "F", None, False, "PHILIPS", body_part="CHEST", study_id=study)
    assert read(content("RG1_UNCR.dcm")).tags == tags


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *[(f"MR2_{coding}.dcm", "modality MR is not a radiograph (CR, DX, RG)") for coding in ("UNCR", "J2KR", "J2KI")],
        *[(f"US1_{coding}.dcm", "modality US is not a radiograph (CR, DX, RG)") for coding in ("UNCR", "J2KR", "J2KI")],
        *[(f"693_{coding}.dcm", "modality CT is not a radiograph (CR, DX, RG)") for coding in ("UNCR", "J2KR", "J2KI")],
        ("liver.dcm", "modality SEG is not a radiograph (CR, DX, RG)"),
        ("image_dfl.dcm", "unsupported deflated DICOM file"),
    ],
)
def test_read_other_files_raises_with_reason(name: str, reason: str) -> None:
    with pytest.raises(UnsupportedDicomError) as error:
        read(content(name))
    assert str(error.value) == reason
