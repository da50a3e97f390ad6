"""A folder that was damaged between two stages is not read, and the file is named."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from radiograft.storage import checksums

FILES = {"a": b"alpha", "empty": b"", "inner/b.bin": bytes(range(256)), "name with spaces": b"x\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with its list."""
    place = tmp_path / "artifact"
    for name, content in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    checksums.write_checksums(place)
    return place


def named(folder: Path, name: str) -> str:
    return f"^{re.escape(str(folder / name))} must be as SHA256SUMS lists it, "


def test_what_was_not_touched_is_whole(folder: Path) -> None:
    checksums.verify_checksums(folder)


def test_the_list_is_that_of_sha256sum(folder: Path) -> None:
    assert (folder / checksums.NAME).read_text().splitlines()[:2] == [
        "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8  a",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  empty",
    ]
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", checksums.NAME], cwd=folder, check=True)


def test_every_flipped_bit_is_noticed(folder: Path) -> None:
    for name, content in FILES.items():
        for place in range(0, len(content), 7):
            (folder / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(ValueError, match=named(folder, name)):
                checksums.verify_checksums(folder)
        (folder / name).write_bytes(content)
    checksums.verify_checksums(folder)


def test_every_flipped_bit_of_the_list_itself_is_noticed(folder: Path) -> None:
    path = folder / checksums.NAME
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError, match="must be as SHA256SUMS lists it"):
            checksums.verify_checksums(folder)


@pytest.mark.parametrize("content", [b"", b"alph", b"alphabet"])
def test_a_file_of_another_length_is_noticed(folder: Path, content: bytes) -> None:
    (folder / "a").write_bytes(content)
    with pytest.raises(ValueError, match=named(folder, "a")):
        checksums.verify_checksums(folder)


def test_a_file_that_is_gone_is_noticed(folder: Path) -> None:
    (folder / "inner" / "b.bin").unlink()
    with pytest.raises(ValueError, match=named(folder, "inner/b.bin")):
        checksums.verify_checksums(folder)


def test_a_stranger_is_noticed(folder: Path) -> None:
    (folder / "train-00001-of-00001.tfrecord").write_bytes(b"of another run")
    with pytest.raises(ValueError, match=named(folder, "train-00001-of-00001.tfrecord")):
        checksums.verify_checksums(folder)


def test_a_folder_without_a_list_is_not_taken(folder: Path) -> None:
    (folder / checksums.NAME).unlink()
    with pytest.raises(
        ValueError, match=rf"{checksums.NAME} must list the files beside it, and is not there; run the "
    ):
        checksums.verify_checksums(folder)


def test_a_list_is_renewed(folder: Path) -> None:
    (folder / "a").write_bytes(b"other")
    checksums.write_checksums(folder)
    checksums.verify_checksums(folder)


def test_every_flipped_bit_of_a_file_beside_a_folder_is_noticed(folder: Path, tmp_path: Path) -> None:
    file, content = tmp_path / "report.html", b"<!doctype html>"
    file.write_bytes(content)
    checksums.write_checksum_of_file(file, folder)
    checksums.verify_checksum_of_file(file, folder)
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError, match=rf"^{re.escape(str(file))} must be as report\.SHA256SUMS lists it, "):
            checksums.verify_checksum_of_file(file, folder)


def test_the_list_of_a_file_beside_a_folder_is_in_the_folders_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "report").write_bytes(b"alpha")
    checksums.write_checksum_of_file(tmp_path / "report", folder)
    listed = folder / "report.SHA256SUMS"
    assert listed.read_text() == "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8  report\n"
    checksums.write_checksums(folder)
    listed.write_text(listed.read_text().replace("8", "9"))
    with pytest.raises(ValueError, match=named(folder, "report.SHA256SUMS")):
        checksums.verify_checksums(folder)
