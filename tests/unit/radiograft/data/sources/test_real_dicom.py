"""Real files of the pydicom-data wheel as a tree: radiographs are kept, all others excluded with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from radiograft.config.table_layout import TableLayout
from radiograft.data.sources import dicom

FILES = {
    "chest/RG1_UNCR.dcm": "",
    "chest/RG1_J2KR.dcm": "",
    "leg/RG3_J2KI.dcm": "",
    "chest/MR2_J2KR.dcm": "modality MR is not a radiograph (CR, DX, RG)",
    "chest/693_J2KR.dcm": "modality CT is not a radiograph (CR, DX, RG)",
    "leg/US1_J2KI.dcm": "modality US is not a radiograph (CR, DX, RG)",
    "leg/JPEG-LL.dcm": "modality NM is not a radiograph (CR, DX, RG)",
}


def test_read_keeps_only_radiographs(tmp_path: Path) -> None:
    for name in FILES:
        source = get_testdata_file(Path(name).name, read=False, download=False)
        if source is None:
            pytest.skip("the wheel pydicom-data is not installed: no real DICOM files to test on")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(str(source))
    source = dicom.read(str(tmp_path), TableLayout(), refuse_burned_in=True)
    assert source.rows[["image_id", "patient_id", "view", "sex"]].to_numpy().tolist() == [
        ["chest/RG1_J2KR.dcm", "9RG1", "PA", "F"],
        ["chest/RG1_UNCR.dcm", "9RG1", "PA", "F"],
        ["leg/RG3_J2KI.dcm", "11RG3", "AP", "F"],
    ]
    assert source.findings.to_dict("list") == {"chest": [1.0, 1.0, 0.0], "leg": [0.0, 0.0, 1.0]}
    assert dict(source.excluded.to_numpy().tolist()) == {name: reason for name, reason in FILES.items() if reason}
