"""What object stores and the lines to them do wrong is mended where it can be, and told in one sentence where not."""

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
from radiograft.storage import conditional_write, range_reader, retry
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
    """Short pauses, and silence that is soon taken for one that lasts."""
    monkeypatch.setattr(retry, "INITIAL_BACKOFF", 0.01)
    monkeypatch.setattr(retry, "CONNECT_TIMEOUT", 1.0)
    monkeypatch.setattr(retry, "READ_TIMEOUT", 0.5)


@pytest.fixture
def line(bucket: str, quick: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The line over which that bucket is reached."""
    variable = ENDPOINTS["s3" if bucket.startswith("s3") else "embedded"]
    with line_to(os.environ[variable]) as flawed:
        monkeypatch.setenv(variable, flawed.endpoint)
        s3_store.client.cache_clear()
        yield flawed
    s3_store.client.cache_clear()


@pytest.fixture
def s3_elsewhere(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Lets a test change how S3 is reached."""
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.1)
    s3_store.client.cache_clear()
    yield monkeypatch
    s3_store.client.cache_clear()


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_request_that_fails_is_made_again(bucket: str, line: Line, flaw: str) -> None:
    uri = f"{bucket}/file"
    storage.write_bytes(uri, b"zero")
    steps: tuple[Callable[[], object], ...] = (
        lambda: storage.write_bytes(uri, b"one"),
        lambda: storage.read_bytes(uri),
        lambda: storage.open_file(uri).read(),
        lambda: storage.exists(uri),
        lambda: [entry.name for entry in storage.list_files(bucket)],
        lambda: conditional_write.read_versioned(uri).content,
        lambda: conditional_write.swap_content(f"{bucket}/new", b"two", None),
        lambda: storage.delete(uri),
    )
    found = []
    for step in steps:
        line.flaws.append(flaw)
        found.append(step())
    assert found == [None, b"one", b"one", True, ["file"], b"one", None, None]
    assert line.injected == {flaw: len(steps)}
    assert [(entry.name, storage.read_bytes(entry.uri)) for entry in storage.list_files(bucket)] == [("new", b"two")]


@pytest.mark.parametrize("flaw", FLAWS)
def test_the_log_tells_of_it_without_the_files_name(
    bucket: str, line: Line, flaw: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails where what the client says is logged as it is: a file may be called what a patient is."""
    caplog.set_level(logging.DEBUG, "radiograft")
    uri = f"{bucket}/Quackenbush, Jane.dcm"
    storage.write_bytes(uri, b"one")
    line.flaws.append(flaw)
    assert storage.read_bytes(uri) == b"one"
    said = [each.getMessage() for each in caplog.records if each.name == "radiograft"]
    assert len(said) == 1
    assert re.match(r"asking the object store again: .{9}", said[0])
    assert "Quackenbush" not in said[0]


@pytest.mark.parametrize("flaw", FLAWS)
def test_an_open_file_is_read_on(bucket: str, line: Line, flaw: str) -> None:
    storage.write_bytes(f"{bucket}/file", CONTENT)
    with storage.open_file(f"{bucket}/file") as file:
        line.flaws.append(flaw)
        assert file.read() == CONTENT
    assert line.injected == {flaw: 1}


def test_an_outage_is_no_damage_of_the_file_being_read(
    bucket: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails where a reader of DICOM takes every error for one of the file: good images would be set aside."""
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.0)
    storage.write_bytes(f"{bucket}/file", dicom_file(np.zeros((32, 32), np.uint16), 12))
    with storage.open_file(f"{bucket}/file") as file:
        line.flaws.extend(["503"] * 1000)
        with pytest.raises(storage.StorageError):
            dicom.read_tags(file)


@pytest.mark.parametrize("flaw", FLAWS)
def test_without_patience_it_is_an_error(bucket: str, line: Line, flaw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence of the test above, switched off."""
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.0)
    line.flaws.append(flaw)
    with pytest.raises(storage.StorageError, match=rf"^{'/'.join(bucket.split('/')[:3])} "):
        storage.write_bytes(f"{bucket}/file", b"one")


def test_patience_runs_out(bucket: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.5)
    line.flaws.extend(["503"] * 1000)
    with pytest.raises(storage.StorageError):
        storage.read_bytes(f"{bucket}/file")
    assert 1 < line.injected["503"] < 1000


@pytest.mark.parametrize("status", ["400", "401", "403", "404"])
def test_what_cannot_heal_is_told_at_once(bucket: str, line: Line, status: str) -> None:
    line.flaws.extend([status] * 2)
    with pytest.raises((storage.StorageError, FileNotFoundError)):
        storage.read_bytes(f"{bucket}/file")
    assert line.injected == {status: 1}


def test_what_goes_on_where_it_was_cut_off_is_compared_too(bucket: str, line: Line) -> None:
    """The clients' own repeating fetches the rest alone, of which no checksum is known; then this test fails for gs."""
    storage.write_bytes(f"{bucket}/file", CONTENT)
    line.cut, line.spoiled = 1, 1
    assert storage.read_bytes(f"{bucket}/file") == CONTENT


@pytest.mark.parametrize("flaw", ["spoiled", "cut"])
def test_an_answer_that_came_damaged_is_fetched_again(bucket: str, line: Line, flaw: str) -> None:
    storage.write_bytes(f"{bucket}/file", CONTENT)
    setattr(line, flaw, 1)
    assert storage.read_bytes(f"{bucket}/file") == CONTENT
    assert getattr(line, flaw) == 0


def test_what_is_damaged_for_good_is_not_taken(bucket: str, line: Line) -> None:
    storage.write_bytes(f"{bucket}/file", CONTENT)
    line.spoiled = 100
    for read in (storage.read_bytes, conditional_write.read_versioned):
        with pytest.raises(storage.StorageError, match=rf"^{bucket}/file is damaged: "):
            read(f"{bucket}/file")


def test_every_content_goes_up_with_its_checksum(bucket: str, line: Line) -> None:
    storage.write_bytes(f"{bucket}/file", b"123456789")
    headers, body = line.requests[-1]
    if bucket.startswith("s3"):
        assert headers["x-amz-checksum-crc32"] == "y/Q5Jg=="  # CRC-32's check value, CBF43926
    else:
        assert b'"crc32c": "4waSgw=="' in body  # CRC-32C's, E3069283


def test_of_an_open_file_only_what_is_read_is_fetched(bucket: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_reader, "READ_AHEAD", 1000)
    storage.write_bytes(f"{bucket}/file", CONTENT)
    with storage.open_file(f"{bucket}/file") as file:
        file.seek(100_000)
        assert file.read(10) == CONTENT[100_000:100_010]
    assert 10 <= line.fetched <= 2_000


def test_an_object_that_is_replaced_is_not_read_on(s3: str) -> None:
    uri = f"{s3}/{uuid.uuid4()}"
    storage.write_bytes(uri, b"old")
    with storage.open_file(uri) as file:
        storage.write_bytes(uri, b"new")
        with pytest.raises(storage.StorageError, match=f"^{uri} was replaced while it was read; read it anew$"):
            file.read()


@pytest.mark.parametrize("encryption", [{"ServerSideEncryption": "aws:kms"}, {"ServerSideEncryption": "AES256"}])
def test_an_etag_is_no_md5_where_keys_are_managed(s3: str, encryption: dict[str, str]) -> None:
    folder = str(uuid.uuid4())
    s3_store.client().put_object(Bucket="radiograft", Key=f"{folder}/file", Body=b"x", **encryption)
    md5 = hashlib.md5(b"x").hexdigest()
    entries = list(storage.list_files(f"{s3}/{folder}"))
    assert [entry.md5 for entry in entries] == [md5 if encryption["ServerSideEncryption"] == "AES256" else None]
    assert [entry.md5 for entry in storage.with_md5(entries)] == [md5]


def test_missing_credentials_are_named(s3_elsewhere: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        s3_elsewhere.delenv(name)
    s3_elsewhere.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3_elsewhere.setenv("HOME", str(tmp_path))
    with pytest.raises(storage.StorageError) as error:
        storage.read_bytes("s3://radiograft/file")
    assert str(error.value) == (
        "there are no credentials for s3://radiograft; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    )


def test_missing_google_credentials_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for use in (storage.read_bytes, storage.open_file, storage.exists):
        with pytest.raises(storage.StorageError, match=r"^gs://elsewhere lets nobody in with these credentials: "):
            use("gs://elsewhere/file")


def test_an_endpoint_that_does_not_answer_is_named(s3_elsewhere: pytest.MonkeyPatch) -> None:
    s3_elsewhere.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    message = r"^s3://radiograft at http://127\.0\.0\.1:9 cannot be reached: .*; is AWS_ENDPOINT_URL right\?$"
    with pytest.raises(storage.StorageError, match=message):
        storage.write_bytes("s3://radiograft/file", b"x")


def test_a_bucket_that_is_not_there_is_named(s3: str) -> None:
    uses: tuple[Callable[[str], object], ...] = (
        storage.read_bytes,
        lambda uri: storage.write_bytes(uri, b"x"),
        lambda uri: conditional_write.swap_content(uri, b"x", '"5"'),
        lambda uri: list(storage.list_files(uri)),
    )
    for use in uses:
        with pytest.raises(storage.StorageError, match=r"^there is no bucket s3://nowhere at http://localhost:"):
            use("s3://nowhere/file")
