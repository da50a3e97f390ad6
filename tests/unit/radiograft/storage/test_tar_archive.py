"""Files of .tar.gz archives, streamed in stored order. Corrupt archives raise."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft import storage
from radiograft.storage import tar_archive
from tests.helpers.tar_files import tar_gz

FILES = {"images/b.png": b"second letter", "images/a.PNG": b"first letter", "images/notes.txt": b"-", "c.jpg": b""}


@pytest.fixture
def uri(place: str) -> str:
    uri = f"{place}/images_01.tar.gz"
    storage.write_bytes(uri, tar_gz(FILES))
    return uri


def test_iter_members_yields_matching_files_in_stored_order(uri: str) -> None:
    assert list(tar_archive.iter_members(uri, (".png", ".jpg"))) == [
        ("images/b.png", f"{uri}#1", b"second letter"),
        ("images/a.PNG", f"{uri}#2", b"first letter"),
        ("c.jpg", f"{uri}#4", b""),
    ]


def test_read_members_yields_content_in_order_and_none_for_files(uri: str) -> None:
    uris = [f"{uri}#2", "a/file.png", f"{uri}#1", f"{uri}#4", "another.tar.gz"]
    assert list(tar_archive.read_members(uris)) == [b"first letter", None, b"second letter", b"", None]


def test_read_members_ignores_case_of_suffix(tmp_path: Path) -> None:
    """Fails if member URIs are case-sensitive and listings are not: listed members could not be read."""
    storage.write_bytes(f"{tmp_path}/X.Tar.GZ", tar_gz(FILES))
    members = list(tar_archive.iter_members(f"{tmp_path}/X.Tar.GZ", (".png",)))
    assert list(tar_archive.read_members(member.uri for member in members)) == [b"second letter", b"first letter"]


@settings(deadline=None, max_examples=25)
@given(wanted=st.sets(st.integers(0, 19)))
def test_read_members_any_ascending_numbers(wanted: set[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    uri = str(tmp_path_factory.getbasetemp() / "twenty.tar.gz")
    storage.write_bytes(uri, tar_gz({f"{number}.png": b"%d" % number for number in range(20)}))
    uris = [f"{uri}#{number}" for number in sorted(wanted)]
    assert list(tar_archive.read_members(uris)) == [b"%d" % number for number in sorted(wanted)]


@pytest.mark.parametrize("number", [0, 5, 99], ids=["folder", "after the last", "far after the last"])
def test_read_members_missing_member_raises(uri: str, number: int) -> None:
    with pytest.raises(ValueError, match=f"must contain a file as member {number} after the previous one; "):
        list(tar_archive.read_members([f"{uri}#{number}"]))


def test_iter_members_missing_archive_raises(place: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.tar\.gz"):
        list(tar_archive.iter_members(f"{place}/none.tar.gz", (".png",)))


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
        list(tar_archive.iter_members(str(path), (".png",)))


def test_iter_members_corrupt_header_raises(tmp_path: Path) -> None:
    content = bytearray(gzip.decompress(tar_gz(FILES)))
    packed = bytearray(gzip.compress(bytes(content), compresslevel=0, mtime=0))
    packed[packed.index(b"images/a.PNG")] ^= 1
    path = tmp_path / "corrupt.tar.gz"
    path.write_bytes(packed)
    with pytest.raises(ValueError, match="got a corrupt one: CRC check failed"):
        list(tar_archive.iter_members(str(path), (".png",)))


def test_iter_members_too_large_file_raises(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_archive, "MAX_MEMBER_BYTES", 12)
    with pytest.raises(ValueError, match=r"images_01\.tar\.gz must have at most 12 bytes, got 13"):
        list(tar_archive.iter_members(uri, (".png",)))
