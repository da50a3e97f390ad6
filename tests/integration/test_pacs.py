"""Radiographs in a real PACS (Orthanc): the same catalog and pixels as from files, and what can go wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radiograft import storage
from radiograft.config import Ingest, Preprocess
from radiograft.data.color import sample_colors
from radiograft.data.image_loader import decode_rows
from radiograft.data.sources.dicom import radiographs
from radiograft.data.sources.listing import list_source
from radiograft.data.sources.readers import UNLABELED_READERS
from radiograft.imaging.geometry import ImageInput
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.storage import dicomweb, dicomweb_session, retry
from tests.helpers.dicom_files import dicom_dataset, dicom_file, in_jpeg_lossless
from tests.helpers.faulty_proxy import line_to
from tests.helpers.nih_source import put
from tests.helpers.orthanc import PASSWORD, USER, orthanc, store

SPLITS = ("train", "valid", "test")
IMAGES = 12


def tags(number: int, modality: str = "CR", **more: object) -> dict[str, object]:
    """The tags of image `number`: two images per study, two studies per patient."""
    study = number // 2
    return {
        "SOPInstanceUID": f"1.2.3.{number}",
        "StudyInstanceUID": f"1.2.4.{study}",
        "SeriesInstanceUID": f"1.2.5.{number}",
        "StudyDate": f"{2010 + study}0101",
        "PatientID": f"Quackenbush {number // 4}",
        "PatientAge": f"{40 + number:03d}Y",
        "PatientSex": "FM"[number // 4 % 2],
        "ViewPosition": "PA",
        "Manufacturer": "FUJI PHOTO FILM Co. ltd.",
        "Modality": modality,
        **more,
    }


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 4096, (40, 44), dtype=np.uint16)


FILES = {
    f"{number}.dcm": dicom_file(pixels(number), 12, **tags(number, "DX" if number % 3 else "CR"))
    for number in range(IMAGES)
}
FILES["packed.dcm"] = in_jpeg_lossless(dicom_dataset(pixels(12), **tags(12)))
FILES["unnamed.dcm"] = dicom_file(pixels(13), 12, **tags(13))  # not in the table
FILES["scan.dcm"] = dicom_file(pixels(14), 12, **tags(14, "CT"))
FILES["beside.dcm"] = dicom_file(
    pixels(15), 12, **tags(0, "CT", SOPInstanceUID="1.2.3.15", SeriesInstanceUID="1.2.5.15")
)
ROWS = [f"1.2.3.{number},{number % 2},{SPLITS[number // 4 % 3]}" for number in range(13)]
TABLE = "\n".join(["image,Pneumonia,split", *ROWS]).encode()


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as host:
        store(host, FILES.values())
        yield host


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIOGRAFT_DICOMWEB_USER", USER)
    monkeypatch.setenv("RADIOGRAFT_DICOMWEB_PASSWORD", PASSWORD)
    monkeypatch.setattr(retry, "INITIAL_BACKOFF", 0.01)


@pytest.fixture
def from_files(tmp_path: Path) -> Ingest:
    files = {name: content for name, content in FILES.items() if name != "unnamed.dcm"}
    return Ingest(data_format="dicom", data_source=put(files | {"labels.csv": TABLE}, f"{tmp_path}/files"))


def from_pacs(settings: Ingest, host: str, query: str = "") -> Ingest:
    table = f"{settings.data_source}/labels.csv"
    source = f"dicomweb+http://{host}/dicom-web/{query}"
    return dataclasses.replace(settings, data_source=source, data_table_file=table)


@pytest.mark.parametrize("deidentify", ["auto", "no"])
def test_build_catalog_from_pacs_equals_that_of_files(
    pacs: str, from_files: Ingest, deidentify: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADIOGRAFT_SALT", "salt")
    settings = dataclasses.replace(from_files, data_deidentify=deidentify)
    files, remote = (ingest.build_catalog(each) for each in (settings, from_pacs(settings, pacs)))
    assert remote.fingerprint() == files.fingerprint()
    pd.testing.assert_frame_equal(remote.rows.drop(columns="uri"), files.rows.drop(columns="uri"))
    assert len(remote.rows) == 13
    assert remote.notes == files.notes
    assert remote.excluded["reason"].tolist() == ["image without a row"]
    assert ("1.2.3" in "".join(remote.rows["uri"])) == (deidentify == "no")


def test_decode_rows_of_pacs_gives_pixels_of_files(pacs: str, from_files: Ingest) -> None:
    """Fails if the hashed name of an image is not found again in the PACS, or its bytes differ."""
    images = []
    for settings in (from_files, from_pacs(from_files, pacs)):
        rows = ingest.build_catalog(settings).rows
        images.append(list(decode_rows(rows, ImageInput(32, "stretch", None))))
    assert {loaded.reason for loaded in images[1]} == {""}
    for file, remote in zip(*images, strict=True):
        np.testing.assert_array_equal(file.image, remote.image)


def test_choose_input_of_pacs_sends_no_request(pacs: str, from_files: Ingest) -> None:
    """Fails if images are downloaded to look for 16-bit PNG files or for color."""
    with line_to(f"http://{pacs}") as line:
        rows = ingest.build_catalog(from_pacs(from_files, line.endpoint.removeprefix("http://"))).rows
        line.requests.clear()
        channels = sample_colors(rows).channels
        assert preprocess.choose_input(Preprocess(image_size=32), rows, channels) == ImageInput(32, "stretch", None)
        assert line.requests == []


def test_unlabeled_reader_of_pacs_needs_no_table(pacs: str) -> None:
    """Drift compares new images with the training set; they have no labels."""
    source = UNLABELED_READERS["dicom"](
        Ingest(data_format="dicom", data_source=f"dicomweb+http://{pacs}/dicom-web?StudyDate=20120101-20131231")
    )
    assert source.rows["image_id"].tolist() == [f"1.2.4.{n // 2}/1.2.5.{n}/1.2.3.{n}" for n in (4, 5, 6, 7)]
    assert source.rows["patient_id"].tolist() == ["Quackenbush 1"] * 4


def test_list_files_returns_radiographs_of_all_pages(pacs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a study is lost at the border of two pages, or CT images are listed."""
    monkeypatch.setattr(dicomweb, "PAGE", 2)
    entries = list(storage.list_files(f"dicomweb+http://{pacs}/dicom-web"))
    expected = {f"1.2.4.{n // 2}/1.2.5.{n}/1.2.3.{n}" for n in range(14)}
    assert [entry.name for entry in entries] == sorted(expected)
    content = storage.read_bytes(next(entry.uri for entry in entries if entry.name.endswith("/1.2.3.12")))
    assert content == FILES["packed.dcm"]


def test_list_files_filter_restricts_studies(pacs: str) -> None:
    entries = list_source(f"dicomweb+http://{pacs}/dicom-web?StudyDate=20110101-20111231")
    assert [entry.name for entry in entries] == ["1.2.4.1/1.2.5.2/1.2.3.2", "1.2.4.1/1.2.5.3/1.2.3.3"]
    assert storage.exists(entries[0].uri)
    assert not storage.exists(entries[0].uri + "9")


def test_build_catalog_faulty_pacs_gives_same_catalog_without_names_in_log(
    pacs: str, from_files: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    expected = ingest.build_catalog(from_files).fingerprint()
    with caplog.at_level(logging.DEBUG), line_to(f"http://{pacs}") as line:
        line.flaws.extend(["503", "503", "429", "dropped"])
        line.cut = 2
        proxy = line.endpoint.removeprefix("http://")
        assert ingest.build_catalog(from_pacs(from_files, proxy)).fingerprint() == expected
        assert line.injected == {"503": 2, "429": 1, "dropped": 1}
        assert line.cut == 0
    logged = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith(("radiograft", "dicom"))
    )
    assert "retrying the object store request" in logged
    for secret in ("Authorization", USER + ":", PASSWORD, "1.2.3.1", "Quackenbush"):
        assert secret not in logged


def test_ingest_wrong_password_raises_without_it(
    pacs: str, from_files: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADIOGRAFT_DICOMWEB_PASSWORD", "hunter2")
    with pytest.raises(storage.StorageError) as error:
        ingest.build_catalog(from_pacs(from_files, pacs))
    assert str(error.value) == (
        f"dicomweb+http://{pacs}/dicom-web rejected credentials (HTTP 401): set RADIOGRAFT_DICOMWEB_USER and "
        "RADIOGRAFT_DICOMWEB_PASSWORD, or RADIOGRAFT_DICOMWEB_TOKEN"
    )
    assert "hunter2" not in str(error.value)
    for name in ("RADIOGRAFT_DICOMWEB_USER", "RADIOGRAFT_DICOMWEB_PASSWORD"):
        monkeypatch.delenv(name)
    with pytest.raises(storage.StorageError, match=r"requires credentials \(HTTP 401\)"):
        ingest.build_catalog(from_pacs(from_files, pacs))


def test_list_files_token_is_sent_instead_of_password(pacs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIOGRAFT_DICOMWEB_TOKEN", "t0ken")
    with line_to(f"http://{pacs}") as line, pytest.raises(storage.StorageError, match="HTTP 401"):
        list(storage.list_files(line.endpoint.replace("http", "dicomweb+http") + "/dicom-web"))
    assert [headers["authorization"] for headers, _ in line.requests] == ["Bearer t0ken"]


@pytest.mark.parametrize("path", ["", "/nothing/here", "/system"])
def test_list_files_other_service_raises(pacs: str, path: str) -> None:
    with pytest.raises(
        storage.StorageError, match=r"must be the root of a DICOMweb service, such as|HTTP 400\): check "
    ):
        list(storage.list_files(f"dicomweb+http://{pacs}{path}"))


def test_list_files_no_radiographs_raises(pacs: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"with radiographs \(CR, DX or RG\), got 0 studies without"):
        list(storage.list_files(f"dicomweb+http://{pacs}/dicom-web?StudyDate=19000101"))


def test_list_files_unreachable_service_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.05)
    with pytest.raises(storage.StorageError, match=r"^dicomweb\+http://127\.0\.0\.1:9 cannot be reached \(Conn"):
        list(storage.list_files("dicomweb+http://127.0.0.1:9"))


def test_radiographs_too_large_instance_is_set_aside(pacs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a response may fill the memory, or one such image stops the run."""
    entries = list_source(f"dicomweb+http://{pacs}/dicom-web?StudyDate=20110101")
    monkeypatch.setattr(dicomweb_session, "MAX_MEMBER_BYTES", 3000)
    images, excluded, _ = radiographs(entries, refuse_burned_in=True)
    assert images.empty
    assert excluded["reason"].tolist() == ["larger than any radiograph"] * 2


def test_radiographs_of_pacs_reads_each_instance_once(pacs: str) -> None:
    """Fails if an image is downloaded for its tags and again for its checksum."""
    with line_to(f"http://{pacs}") as line:
        entries = list_source(line.endpoint.replace("http", "dicomweb+http") + "/dicom-web?StudyDate=20110101")
        line.requests.clear()
        images = radiographs(entries, refuse_burned_in=True).images
        assert len(line.requests) == 2
    assert images["bytes"].tolist() == [len(FILES["2.dcm"]), len(FILES["3.dcm"])]
    assert images["md5"].tolist() == [hashlib.md5(FILES[name]).hexdigest() for name in ("2.dcm", "3.dcm")]


def test_pacs_is_never_written(pacs: str) -> None:
    uri = f"dicomweb+http://{pacs}/dicom-web/1.2.4.0/1.2.5.0/1.2.3.0"
    writes = (
        lambda: storage.write_bytes(uri, b"x"),
        lambda: storage.swap_content(uri, b"x", None),
        lambda: storage.delete(uri),
        lambda: storage.delete_tree(f"dicomweb+http://{pacs}/dicom-web"),
    )
    for write in writes:
        with pytest.raises(storage.StorageError, match=r"^dicomweb:// is only read, never written"):
            write()
    assert storage.read_bytes(uri) == FILES["0.dcm"]
