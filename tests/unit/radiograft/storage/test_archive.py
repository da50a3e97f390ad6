"""Files of .tar.gz, .tgz and .zip archives, in stored order. Corrupt archives raise."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft import storage
from radiograft.storage import archive
from tests.helpers.archives import tar_gz, zipped

FILES = {"images/b.png": b"second letter", "images/a.PNG": b"first letter", "images/notes.txt": b"-", "c.jpg": b""}
KINDS = {".tar.gz": tar_gz, ".tgz": tar_gz, ".zip": zipped}


def is_image(name: str) -> bool:
    return name.lower().endswith((".png", ".jpg"))


@pytest.fixture(params=KINDS)
def uri(place: str, request: pytest.FixtureRequest) -> str:
    uri = f"{place}/images_01{request.param}"
    storage.write_bytes(uri, KINDS[request.param](FILES))
    return uri


def test_iter_members_yields_files_in_stored_order_and_reads_wanted_ones(uri: str) -> None:
    assert list(archive.iter_members(uri, is_image)) == [
        ("images/b.png", f"{uri}#1", b"second letter"),
        ("images/a.PNG", f"{uri}#2", b"first letter"),
        ("images/notes.txt", f"{uri}#3", None),
        ("c.jpg", f"{uri}#4", b""),
    ]


def test_read_members_yields_content_in_order_and_none_for_files(uri: str) -> None:
    uris = [f"{uri}#2", "a/file.png", f"{uri}#1", f"{uri}#4", "another.tar.gz"]
    assert list(archive.read_members(uris)) == [b"first letter", None, b"second letter", b"", None]


@pytest.mark.parametrize(("name", "kind"), [("X.Tar.GZ", ".tar.gz"), ("X.ZIP", ".zip")])
def test_read_members_ignores_case_of_suffix(name: str, kind: str, tmp_path: Path) -> None:
    """Fails if member URIs are case-sensitive and listings are not: listed members could not be read."""
    storage.write_bytes(f"{tmp_path}/{name}", KINDS[kind](FILES))
    uris = [member.uri for member in archive.iter_members(f"{tmp_path}/{name}", is_image) if member.content]
    assert list(archive.read_members(uris)) == [b"second letter", b"first letter"]


@settings(deadline=None, max_examples=25)
@given(wanted=st.sets(st.integers(0, 19)), kind=st.sampled_from(sorted(KINDS)))
def test_read_members_any_ascending_numbers(
    wanted: set[int], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    uri = str(tmp_path_factory.getbasetemp() / f"twenty{kind}")
    storage.write_bytes(uri, KINDS[kind]({f"{number}.png": b"%d" % number for number in range(20)}))
    uris = [f"{uri}#{number}" for number in sorted(wanted)]
    assert list(archive.read_members(uris)) == [b"%d" % number for number in sorted(wanted)]


@pytest.mark.parametrize("number", [0, 5, 99], ids=["folder", "after the last", "far after the last"])
def test_read_members_missing_member_raises(uri: str, number: int) -> None:
    with pytest.raises(ValueError, match=f"must contain a file as member {number} after the previous one; "):
        list(archive.read_members([f"{uri}#{number}"]))


def test_iter_members_missing_archive_raises(place: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.tar\.gz"):
        list(archive.iter_members(f"{place}/none.tar.gz", is_image))


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_iter_members_truncated_archive_raises(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = tar_gz({f"{number}.png": bytes(range(256)) * number for number in range(8)})
    path = tmp_path_factory.getbasetemp() / "cut.tar.gz"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(
        ValueError,
        match=r"cut\.tar\.gz must be a complete \.tar\.gz archive, got a corrupt one: .*; download it again$",
    ):
        list(archive.iter_members(str(path), is_image))


def test_iter_members_corrupt_header_raises(tmp_path: Path) -> None:
    content = bytearray(gzip.decompress(tar_gz(FILES)))
    packed = bytearray(gzip.compress(bytes(content), compresslevel=0, mtime=0))
    packed[packed.index(b"images/a.PNG")] ^= 1
    path = tmp_path / "corrupt.tar.gz"
    path.write_bytes(packed)
    with pytest.raises(ValueError, match="got a corrupt one: CRC check failed"):
        list(archive.iter_members(str(path), is_image))


def test_iter_members_too_large_file_raises(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 12)
    with pytest.raises(ValueError, match=r"images_01\.\S+ must have at most 12 bytes, got 13"):
        list(archive.iter_members(uri, is_image))


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_iter_members_truncated_zip_raises(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = zipped({f"{number}.png": bytes(range(256)) * number for number in range(8)})
    path = tmp_path_factory.getbasetemp() / "cut.zip"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(
        ValueError, match=r"cut\.zip must be a complete \.zip archive without a password, .*; download it"
    ):
        list(archive.iter_members(str(path), is_image))


def test_iter_members_corrupt_zip_raises_without_names(tmp_path: Path) -> None:
    """Fails if the message quotes zipfile, which names the member: it may hold a patient's name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as file:
        file.writestr("Doe.png", b"first letter")
    path = tmp_path / "x.zip"
    path.write_bytes(content.getvalue().replace(b"first", b"FIRST"))
    with pytest.raises(ValueError, match="corrupt or encrypted") as caught:
        list(archive.iter_members(str(path), is_image))
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.ZIP", True), ("a.tgz", True), ("a.tar.gz", True), ("t.csv.zip", False), ("t.csv.gz", False), ("zip", False)],
)
def test_is_archive_excludes_packed_tables(name: str, expected: bool) -> None:
    assert archive.is_archive(name) is expected
