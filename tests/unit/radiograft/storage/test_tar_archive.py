"""Files of a .tar.gz archive come as a stream in its order; what is damaged is said to be so."""

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
    address = f"{place}/images_01.tar.gz"
    storage.write_bytes(address, tar_gz(FILES))
    return address


def test_files_of_the_kinds_asked_for_come_in_stored_order_with_their_addresses(uri: str) -> None:
    assert list(tar_archive.iter_members(uri, (".png", ".jpg"))) == [
        ("images/b.png", f"{uri}#1", b"second letter"),
        ("images/a.PNG", f"{uri}#2", b"first letter"),
        ("c.jpg", f"{uri}#4", b""),
    ]


def test_members_are_picked_between_files_of_their_own(uri: str) -> None:
    wanted = [f"{uri}#2", "a/file.png", f"{uri}#1", f"{uri}#4", "another.tar.gz"]
    found = [b"first letter", None, b"second letter", b"", None]
    assert list(tar_archive.read_members(wanted)) == found


def test_an_archives_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    """Fails where an address tells letters apart that the listing does not: what is found could not be read."""
    storage.write_bytes(f"{tmp_path}/X.Tar.GZ", tar_gz(FILES))
    found = list(tar_archive.iter_members(f"{tmp_path}/X.Tar.GZ", (".png",)))
    assert list(tar_archive.read_members(member.uri for member in found)) == [b"second letter", b"first letter"]


@settings(deadline=None, max_examples=25)
@given(wanted=st.sets(st.integers(0, 19)))
def test_any_ascending_choice_is_served_in_one_pass(wanted: set[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    uri = str(tmp_path_factory.getbasetemp() / "twenty.tar.gz")
    storage.write_bytes(uri, tar_gz({f"{number}.png": b"%d" % number for number in range(20)}))
    uris = [f"{uri}#{number}" for number in sorted(wanted)]
    assert list(tar_archive.read_members(uris)) == [b"%d" % number for number in sorted(wanted)]


@pytest.mark.parametrize("number", [0, 5, 99], ids=["a folder", "behind the end", "far behind"])
def test_a_member_that_is_not_there_is_named(uri: str, number: int) -> None:
    with pytest.raises(ValueError, match=f"must hold a file as member {number} behind the one read before"):
        list(tar_archive.read_members([f"{uri}#{number}"]))


def test_a_missing_archive_is_named(place: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.tar\.gz"):
        list(tar_archive.iter_members(f"{place}/none.tar.gz", (".png",)))


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_an_archive_cut_off_anywhere_is_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = tar_gz({f"{number}.png": bytes(range(256)) * number for number in range(8)})
    path = tmp_path_factory.getbasetemp() / "cut.tar.gz"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=r"cut\.tar\.gz must be a whole \.tar\.gz archive, got a broken one"):
        list(tar_archive.iter_members(str(path), (".png",)))


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    content = bytearray(gzip.decompress(tar_gz(FILES)))
    packed = bytearray(gzip.compress(bytes(content), compresslevel=0, mtime=0))
    packed[packed.index(b"images/a.PNG")] ^= 1
    path = tmp_path / "damaged.tar.gz"
    path.write_bytes(packed)
    with pytest.raises(ValueError, match="got a broken one: CRC check failed"):
        list(tar_archive.iter_members(str(path), (".png",)))


def test_a_file_that_is_too_large_is_refused_before_it_is_read(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_archive, "MAX_MEMBER_BYTES", 12)
    with pytest.raises(ValueError, match=r"images_01\.tar\.gz must have at most 12 bytes, got 13"):
        list(tar_archive.iter_members(uri, (".png",)))
