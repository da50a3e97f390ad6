"""No output of a run contains secrets of its environment or the names of patients."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from radiograft.config import Ingest
from radiograft.reporting import data_report
from radiograft.storage import pseudonyms
from tests.e2e.runs import SECRETS, TwoRuns
from tests.fuzz.search import found_in
from tests.helpers.dicom_files import dicom_file
from tests.helpers.nih_source import put
from tests.helpers.sources import CASES
from tests.integration.test_source_to_version import run_stages, small_network

__all__ = ["small_network"]  # a fixture
NAME = "Quackenbush"


def test_run_outputs_contain_no_secrets(two_runs: TwoRuns) -> None:
    """Searches logs, artifacts, object store, registry and reports.

    Fails if a stage logs its environment, or if the lineage contains `RADIOGRAFT_SALT`.
    """
    assert len(list(two_runs.out.rglob("*"))) > 200
    assert found_in(two_runs.out, SECRETS.values()) == []
    for run in (two_runs.first, two_runs.second):
        assert not [secret for secret in SECRETS.values() if secret in run.output]


def named_radiographs(folder: str) -> Ingest:
    """Returns settings for radiographs whose tags, folders and files contain names of patients and a physician."""
    tags = {"PatientName": f"{NAME}^Jane", "ReferringPhysicianName": NAME, "ImageComments": f"for Dr {NAME}"}
    files, rows = {}, []
    for case in CASES:
        path = f"{NAME}/{NAME}_{case.number}.dcm"
        files[path] = dicom_file(case.pixels, PatientID=f"{NAME}{case.number}", **tags)
        rows.append(f"{path},{float(case.sick)},{case.split}")
    rows.append(f"{NAME}/gone.dcm,1,train")
    files |= {"labels.csv": "\n".join(["image,Pneumonia,split", *rows]).encode(), f"{NAME}.txt": b"no image"}
    return Ingest(data_format="dicom", data_source=put(files, folder))


def test_stage_outputs_contain_no_patient_names(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Covers ingest to the published version and both reports. Fails with data_deidentify=no."""
    monkeypatch.setenv(pseudonyms.SALT_VARIABLE, SECRETS["RADIOGRAFT_SALT"])
    caplog.set_level(logging.DEBUG)
    assert run_stages(named_radiographs(str(tmp_path / "data")), tmp_path / "left").version == 1
    data_report.write_data_report(tmp_path / "left" / "shards", tmp_path / "left" / "data.html")
    words = [NAME, SECRETS["RADIOGRAFT_SALT"]]
    assert found_in(tmp_path / "left", words) == []
    output = (caplog.text + "".join(capfd.readouterr())).lower()
    assert "12 images of 12 patients" in output
    assert not [word for word in words if word.lower() in output]
