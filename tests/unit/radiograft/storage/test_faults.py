"""Faults of object stores and connections are retried if that can help, and reported in one sentence otherwise."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from radiograft import storage
from radiograft.imaging import dicom
from radiograft.storage import backend, retry
from radiograft.storage import s3 as s3_store
from tests.helpers.dicom_files import dicom_file
from tests.helpers.faulty_proxy import FLAWS, Line, line_to

ENDPOINTS = {"embedded": storage.EMBEDDED_ENDPOINT_VARIABLE, "s3": "AWS_ENDPOINT_URL"}
CONTENT = np.random.default_rng(0).bytes(200_000)


@pytest.fixture(params=["embedded", "s3"])
def bucket(request: pytest.FixtureRequest) -> str:
    """An empty prefix in gs:// or s3://."""
    return f"{request.getfixturevalue(request.param)}/{uuid.uuid4()}"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short delays and timeouts."""
    monkeypatch.setattr(retry, "INITIAL_BACKOFF", 0.01)
    monkeypatch.setattr(retry, "CONNECT_TIMEOUT", 1.0)
    monkeypatch.setattr(retry, "READ_TIMEOUT", 0.5)


@pytest.fixture
def line(bucket: str, quick: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A faulty proxy in front of the object store of that bucket."""
    variable = ENDPOINTS["s3" if bucket.startswith("s3") else "embedded"]
    with line_to(os.environ[variable]) as flawed:
        monkeypatch.setenv(variable, flawed.endpoint)
        s3_store.client.cache_clear()
        yield flawed
    s3_store.client.cache_clear()


@pytest.fixture
def s3_elsewhere(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Lets a test change the configuration of the S3 client."""
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.1)
    s3_store.client.cache_clear()
    yield monkeypatch
    s3_store.client.cache_clear()


@pytest.mark.parametrize("flaw", FLAWS)
def test_request_failing_once_is_retried(bucket: str, line: Line, flaw: str) -> None:
    uri = f"{bucket}/file"
    storage.write_bytes(uri, b"zero")
    steps: tuple[Callable[[], object], ...] = (
        lambda: storage.write_bytes(uri, b"one"),
        lambda: storage.read_bytes(uri),
        lambda: storage.open_file(uri).read(),
        lambda: storage.exists(uri),
        lambda: [entry.name for entry in storage.list_files(bucket)],
        lambda: storage.read_versioned(uri).content,
        lambda: storage.swap_content(f"{bucket}/new", b"two", None),
        lambda: storage.delete(uri),
    )
    results = []
    for step in steps:
        line.flaws.append(flaw)
        results.append(step())
    assert results == [None, b"one", b"one", True, ["file"], b"one", None, None]
    assert line.injected == {flaw: len(steps)}
    assert [(entry.name, storage.read_bytes(entry.uri)) for entry in storage.list_files(bucket)] == [("new", b"two")]


@pytest.mark.parametrize("flaw", FLAWS)
def test_retry_is_logged_without_file_name(
    bucket: str, line: Line, flaw: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails if the message of the client is logged unchanged: a file name may be a patient's name."""
    caplog.set_level(logging.DEBUG, "radiograft")
    uri = f"{bucket}/Quackenbush, Jane.dcm"
    storage.write_bytes(uri, b"one")
    line.flaws.append(flaw)
    assert storage.read_bytes(uri) == b"one"
    messages = [record.getMessage() for record in caplog.records if record.name == "radiograft"]
    assert len(messages) == 1
    assert re.match(r"retrying the object store request: .{9}", messages[0])
    assert "Quackenbush" not in messages[0]


@pytest.mark.parametrize("flaw", FLAWS)
def test_open_file_read_failing_once_is_retried(bucket: str, line: Line, flaw: str) -> None:
    storage.write_bytes(f"{bucket}/file", CONTENT)
    with storage.open_file(f"{bucket}/file") as file:
        line.flaws.append(flaw)
        assert file.read() == CONTENT
    assert line.injected == {flaw: 1}


def test_read_tags_during_outage_raises_storage_error(bucket: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the DICOM reader treats every error as a corrupt file: intact images would be excluded."""
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.0)
    storage.write_bytes(f"{bucket}/file", dicom_file(np.zeros((32, 32), np.uint16), 12))
    with storage.open_file(f"{bucket}/file") as file:
        line.flaws.extend(["503"] * 1000)
        with pytest.raises(storage.StorageError):
            dicom.read_tags(file)


@pytest.mark.parametrize("flaw", FLAWS)
def test_request_without_retries_raises(bucket: str, line: Line, flaw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without retries, the same faults are errors."""
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.0)
    line.flaws.append(flaw)
    with pytest.raises(storage.StorageError, match=rf"^(request to )?{'/'.join(bucket.split('/')[:3])} "):
        storage.write_bytes(f"{bucket}/file", b"one")


def test_request_failing_until_timeout_raises(bucket: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.5)
    line.flaws.extend(["503"] * 1000)
    with pytest.raises(storage.StorageError):
        storage.read_bytes(f"{bucket}/file")
    assert 1 < line.injected["503"] < 1000


@pytest.mark.parametrize("status", ["400", "401", "403", "404"])
def test_request_with_permanent_error_is_not_retried(bucket: str, line: Line, status: str) -> None:
    line.flaws.extend([status] * 2)
    with pytest.raises((storage.StorageError, FileNotFoundError)):
        storage.read_bytes(f"{bucket}/file")
    assert line.injected == {status: 1}


def test_read_bytes_cut_off_then_corrupt_response_returns_content(bucket: str, line: Line) -> None:
    """Fails for gs with the client's own retries, which fetch the rest alone and cannot verify its checksum."""
    storage.write_bytes(f"{bucket}/file", CONTENT)
    line.cut, line.spoiled = 1, 1
    assert storage.read_bytes(f"{bucket}/file") == CONTENT


@pytest.mark.parametrize("flaw", ["spoiled", "cut"])
def test_read_bytes_corrupt_or_cut_off_response_is_retried(bucket: str, line: Line, flaw: str) -> None:
    storage.write_bytes(f"{bucket}/file", CONTENT)
    setattr(line, flaw, 1)
    assert storage.read_bytes(f"{bucket}/file") == CONTENT
    assert getattr(line, flaw) == 0


def test_read_permanently_corrupt_object_raises(bucket: str, line: Line) -> None:
    storage.write_bytes(f"{bucket}/file", CONTENT)
    line.spoiled = 100
    for read in (storage.read_bytes, storage.read_versioned):
        with pytest.raises(storage.StorageError, match=rf"^{bucket}/file is corrupt: "):
            read(f"{bucket}/file")


def test_write_bytes_sends_checksum(bucket: str, line: Line) -> None:
    storage.write_bytes(f"{bucket}/file", b"123456789")
    headers, body = line.requests[-1]
    if bucket.startswith("s3"):
        assert headers["x-amz-checksum-crc32"] == "y/Q5Jg=="  # CRC-32's check value, CBF43926
    else:
        assert b'"crc32c": "4waSgw=="' in body  # CRC-32C's, E3069283


def test_open_file_fetches_only_ranges_read(bucket: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "READ_AHEAD", 1000)
    storage.write_bytes(f"{bucket}/file", CONTENT)
    with storage.open_file(f"{bucket}/file") as file:
        file.seek(100_000)
        assert file.read(10) == CONTENT[100_000:100_010]
    assert 10 <= line.fetched <= 2_000


def test_open_file_replaced_object_raises(s3: str) -> None:
    uri = f"{s3}/{uuid.uuid4()}"
    storage.write_bytes(uri, b"old")
    with storage.open_file(uri) as file:
        storage.write_bytes(uri, b"new")
        with pytest.raises(storage.StorageError, match=f"^{uri} was replaced while it was read; read it again$"):
            file.read()


@pytest.mark.parametrize("encryption", [{"ServerSideEncryption": "aws:kms"}, {"ServerSideEncryption": "AES256"}])
def test_list_files_kms_encrypted_object_has_no_md5(s3: str, encryption: dict[str, str]) -> None:
    folder = str(uuid.uuid4())
    s3_store.client().put_object(Bucket="radiograft", Key=f"{folder}/file", Body=b"x", **encryption)
    md5 = hashlib.md5(b"x").hexdigest()
    entries = list(storage.list_files(f"{s3}/{folder}"))
    assert [entry.md5 for entry in entries] == [md5 if encryption["ServerSideEncryption"] == "AES256" else None]
    assert [entry.md5 for entry in storage.with_md5(entries)] == [md5]


def test_s3_without_credentials_raises(s3_elsewhere: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        s3_elsewhere.delenv(name)
    s3_elsewhere.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3_elsewhere.setenv("HOME", str(tmp_path))
    with pytest.raises(storage.StorageError) as error:
        storage.read_bytes("s3://radiograft/file")
    assert str(error.value) == (
        "no credentials for s3://radiograft; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    )


def test_gcs_without_credentials_raises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for use in (storage.read_bytes, storage.open_file, storage.exists):
        with pytest.raises(
            storage.StorageError, match=r"^access to gs://elsewhere denied: .*; log in with `gcloud auth "
        ):
            use("gs://elsewhere/file")


def test_s3_unreachable_endpoint_raises(s3_elsewhere: pytest.MonkeyPatch) -> None:
    s3_elsewhere.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    message = r"^s3://radiograft at http://127\.0\.0\.1:9 cannot be reached: .*; check AWS_ENDPOINT_URL$"
    with pytest.raises(storage.StorageError, match=message):
        storage.write_bytes("s3://radiograft/file", b"x")


def test_s3_missing_bucket_raises(s3: str) -> None:
    uses: tuple[Callable[[str], object], ...] = (
        storage.read_bytes,
        lambda uri: storage.write_bytes(uri, b"x"),
        lambda uri: storage.swap_content(uri, b"x", '"5"'),
        lambda uri: list(storage.list_files(uri)),
    )
    for use in uses:
        with pytest.raises(
            storage.StorageError,
            match=r"^bucket s3://nowhere at http://localhost:\d+ does not exist, cannot access s3://nowhere/file",
        ):
            use("s3://nowhere/file")
