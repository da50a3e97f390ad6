"""De-identification: no name from a DICOM tag or a path is written or logged."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import traceback
from pathlib import Path

import pandas as pd
import pytest

from radiograft import storage
from radiograft.config import Ingest, Preprocess
from radiograft.data.catalog import Catalog
from radiograft.data.deidentify import NO_SALT, deidentify
from radiograft.data.image_loader import decode_rows
from radiograft.data.sources import chestxray14
from radiograft.imaging.dicom import Tags
from radiograft.imaging.geometry import ImageInput
from radiograft.reporting import data_report
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.storage import pseudonyms
from tests.helpers.dicom_files import dicom_file
from tests.helpers.nih_source import nih_files, put
from tests.helpers.sources import CASES, dicom, nih

NAME = "Quackenbush"


@pytest.fixture(autouse=True)
def salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pseudonyms.SALT_VARIABLE, "a secret")


def named_files(place: str) -> Ingest:
    """Radiographs with a name in their tags, folders and files, some of them corrupt, and a table that names them."""
    tags = {
        "PatientName": f"{NAME}^Jane",
        "OtherPatientIDs": NAME,
        "ImageComments": f"for Dr {NAME}",
        "ReferringPhysicianName": NAME,
        "PatientSex": NAME.upper(),
        "ViewPosition": NAME.upper(),
        "PatientAge": "095Y",
    }
    files, rows = {}, []
    for case in CASES:
        name = f"{NAME}/{NAME}_{case.number}.dcm"
        files[name] = dicom_file(case.pixels, PatientID=f"{NAME}{case.number}", **tags)
        rows.append(f"{name},{float(case.sick)},{case.split}")
    corrupt = dicom_file(CASES[0].pixels, PatientID=f"{NAME}99", **tags)[:-9]
    files |= {
        f"{NAME}/torn.dcm": corrupt,
        f"{NAME}.bin": b"x",
        f"{NAME}/ct.dcm": dicom_file(CASES[1].pixels, Modality="CT"),
    }
    rows += [f"{NAME}/torn.dcm,1,train", f"{NAME}/missing.dcm,1,train"]
    files["labels.csv"] = "\n".join(["image,Pneumonia,split", *rows]).encode()
    return Ingest(data_format="dicom", data_source=put(files, place), data_table="views=all")


def test_ingest_and_preprocess_write_and_log_no_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = named_files(str(tmp_path / "data"))
    ingest.run(settings, tmp_path / "output/catalog")
    preprocess.run(Preprocess(image_size=32), tmp_path / "output/catalog", tmp_path / "output/shards")
    data_report.write_data_report(tmp_path / "output/shards", tmp_path / "output/data.html")
    summary = json.loads((tmp_path / "output/shards/shards.json").read_text())
    assert {group["reason"]: group["count"] for group in summary["excluded"]} == {
        "corrupt DICOM file": 1,
        "modality CT is not a radiograph (CR, DX, RG)": 1,
        "not a DICOM file": 1,
        "row without an image": 1,
    }
    assert summary["splits"]["train"]["pictures"] == 4
    logged = caplog.text + "".join(capfd.readouterr())
    assert "excluded" in logged
    assert NAME.lower() not in logged.lower()
    written = [path for path in (tmp_path / "output").rglob("*") if path.is_file()]
    assert len(written) > 8
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".parquet":  # its text may be compressed
            content = pd.read_parquet(path).to_csv().encode()
        assert NAME.lower().encode() not in content.lower(), path.name


@pytest.mark.parametrize("reads", ["open_file", "read_bytes"], ids=["tags", "checksum"])
def test_ingest_file_deleted_while_reading_is_excluded_without_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reads: str
) -> None:
    """Fails if a deleted file raises: the error would write its name to the log."""
    caplog.set_level(logging.DEBUG)
    settings, read = named_files(str(tmp_path / "data")), getattr(storage, reads)

    def read_after_deletion(uri: str) -> object:
        if uri.endswith(f"{NAME}_0.dcm"):
            Path(uri).unlink()
        return read(uri)

    monkeypatch.setattr(storage, reads, read_after_deletion)
    catalog = ingest.run(settings, tmp_path / "catalog")
    assert pseudonyms.pseudonymize(f"{NAME}/{NAME}_0.dcm") not in catalog.rows["image_id"].tolist()
    assert catalog.excluded["reason"].value_counts()["deleted since it was listed, or a link to a missing file"] == 1
    written = catalog.rows.to_csv() + catalog.excluded.to_csv()
    assert NAME.lower() not in (caplog.text + written).lower()


@pytest.mark.parametrize("reads", ["open_file", "read_bytes"], ids=["tags", "checksum"])
@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied", f"/data/Jo {NAME}.dcm"),
        storage.StorageError(f"gs://b does not answer: GET https://store/b/o/Jo%20{NAME}.dcm: 503"),
    ],
)
def test_read_error_message_contains_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: str, error: OSError
) -> None:
    """Fails if the error is not redacted: the log contains the error that stops a run, with its causes."""
    settings, read = named_files(str(tmp_path / "data")), getattr(storage, reads)
    ingest.run(settings, tmp_path / "catalog")

    def fails(uri: str) -> object:
        if uri.endswith(".dcm"):
            raise error
        return read(uri)

    with monkeypatch.context() as changed:
        changed.setattr(storage, reads, fails)
        with pytest.raises(type(error)) as raised:
            ingest.build_catalog(settings)
    assert NAME not in "".join(traceback.format_exception(raised.value))
    assert "Permission denied" in str(raised.value) or "gs://b does not answer: GET ... 503" in str(raised.value)
    if reads == "read_bytes":
        catalog = Catalog.read(tmp_path / "catalog")
        monkeypatch.setattr(storage, reads, fails)
        with pytest.raises(type(error)) as raised:
            list(decode_rows(catalog.rows, ImageInput(32)))
        assert NAME not in "".join(traceback.format_exception(raised.value))


def test_build_catalog_hashes_patients_images_and_files(tmp_path: Path) -> None:
    rows = ingest.build_catalog(named_files(str(tmp_path / "data"))).rows
    for column, pattern in {
        "image_id": r"[0-9a-f]{20}",
        "patient_id": r"[0-9a-f]{20}",
        "uri": re.escape(f"{tmp_path}/data/#") + "[0-9a-f]{20}",
    }.items():
        assert rows[column].str.fullmatch(pattern).all()
        assert rows[column].is_unique
    assert rows["image_id"].is_monotonic_increasing
    assert rows["age"].eq(90).all()
    assert rows["sex"].isna().all()
    assert rows["view"].eq("OTHER").all()


def test_deidentify_hashes_depend_on_salt_and_keep_patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = chestxray14.read(put(nih_files(), str(tmp_path / "nih")))
    first, again = deidentify(source).rows["patient_id"], deidentify(source).rows["patient_id"]
    assert sorted(first.value_counts()) == sorted(source.rows["patient_id"].value_counts()) == [1, 1, 2, 2, 2]
    assert first.equals(again)
    monkeypatch.setenv(pseudonyms.SALT_VARIABLE, "another secret")
    assert not set(deidentify(source).rows["patient_id"]) & set(first)


def test_deidentify_keeps_findings_with_images(tmp_path: Path) -> None:
    source = chestxray14.read(put(nih_files(), str(tmp_path / "nih")))
    hidden = deidentify(source)
    before = dict(zip(source.rows["md5"], source.findings.to_numpy().tolist(), strict=True))
    assert dict(zip(hidden.rows["md5"], hidden.findings.to_numpy().tolist(), strict=True)) == before


def test_pseudonymize_is_hmac_of_rfc_2104(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pseudonyms.SALT_VARIABLE, "Jefe")  # RFC 4231, test case 2
    assert pseudonyms.pseudonymize("what do ya want for nothing?") == "5bdcc146bf60754e6a042426089575c75a003f08"[:20]


def test_build_catalog_without_salt_adds_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dicom(str(tmp_path / "data"))
    assert NO_SALT not in ingest.build_catalog(settings).notes
    monkeypatch.delenv(pseudonyms.SALT_VARIABLE)
    assert NO_SALT in ingest.build_catalog(settings).notes


def test_build_catalog_patient_overlap_names_hash(tmp_path: Path) -> None:
    files = nih_files() | {"test_list.txt": b"00000001_001.png", "train_val_list.txt": b"00000001_000.png"}
    settings = Ingest(data_source=put(files, str(tmp_path / "nih")), data_deidentify="yes")
    with pytest.raises(
        ValueError, match=f"got 1 in several of the dataset's own splits: {pseudonyms.pseudonymize('1')}"
    ):
        ingest.build_catalog(settings)


def test_deidentifies_auto_is_on_for_dicom_only(tmp_path: Path) -> None:
    for create, default in ((dicom, True), (nih, False)):
        settings = create(str(tmp_path / create.__name__))
        choices = {"auto": default, "yes": True, "no": False}
        for choice, expected in choices.items():
            assert dataclasses.replace(settings, data_deidentify=choice).deidentifies() is expected


def test_dicom_tags_contain_only_used_fields() -> None:
    assert Tags._fields == (
        "patient_id", "instance_uid", "view", "sex", "age", "burned_in", "manufacturer", "study_id", "body_part",
        "laterality", "for_processing",
    )  # fmt: skip
