"""Verification of output folders: every changed, missing or additional file is reported by name."""

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
    """A folder with its checksums."""
    path = tmp_path / "artifact"
    for name, content in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    checksums.write_checksums(path)
    return path


def mismatch_of(folder: Path, name: str) -> str:
    return (
        f"^{re.escape(str(folder / name))} must match SHA256SUMS, but is corrupt, missing or unlisted; run the stage "
    )


def test_verify_unchanged_folder_passes(folder: Path) -> None:
    checksums.verify_checksums(folder)


def test_write_checksums_uses_format_of_sha256sum(folder: Path) -> None:
    assert (folder / checksums.NAME).read_text().splitlines()[:2] == [
        "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8  a",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  empty",
    ]
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", checksums.NAME], cwd=folder, check=True)


def test_verify_flipped_bit_raises(folder: Path) -> None:
    for name, content in FILES.items():
        for position in range(0, len(content), 7):
            (folder / name).write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            with pytest.raises(ValueError, match=mismatch_of(folder, name)):
                checksums.verify_checksums(folder)
        (folder / name).write_bytes(content)
    checksums.verify_checksums(folder)


def test_verify_flipped_bit_of_list_raises(folder: Path) -> None:
    path = folder / checksums.NAME
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ValueError, match="must match SHA256SUMS, but is corrupt, missing or unlisted"):
            checksums.verify_checksums(folder)


@pytest.mark.parametrize("content", [b"", b"alph", b"alphabet"])
def test_verify_file_of_other_length_raises(folder: Path, content: bytes) -> None:
    (folder / "a").write_bytes(content)
    with pytest.raises(ValueError, match=mismatch_of(folder, "a")):
        checksums.verify_checksums(folder)


def test_verify_missing_file_raises(folder: Path) -> None:
    (folder / "inner" / "b.bin").unlink()
    with pytest.raises(ValueError, match=mismatch_of(folder, "inner/b.bin")):
        checksums.verify_checksums(folder)


def test_verify_unlisted_file_raises(folder: Path) -> None:
    (folder / "train-00001-of-00001.tfrecord").write_bytes(b"of another run")
    with pytest.raises(ValueError, match=mismatch_of(folder, "train-00001-of-00001.tfrecord")):
        checksums.verify_checksums(folder)


def test_verify_missing_list_raises(folder: Path) -> None:
    (folder / checksums.NAME).unlink()
    with pytest.raises(ValueError, match="/SHA256SUMS must list the files of its folder, but is missing; run the "):
        checksums.verify_checksums(folder)


def test_write_checksums_replaces_earlier_list(folder: Path) -> None:
    (folder / "a").write_bytes(b"other")
    checksums.write_checksums(folder)
    checksums.verify_checksums(folder)


def test_verify_checksum_of_file_flipped_bit_raises(folder: Path, tmp_path: Path) -> None:
    file, content = tmp_path / "report.html", b"<!doctype html>"
    file.write_bytes(content)
    checksums.write_checksum_of_file(file, folder)
    checksums.verify_checksum_of_file(file, folder)
    for position in range(len(content)):
        file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ValueError, match=rf"^{re.escape(str(file))} must match report\.SHA256SUMS, but is "):
            checksums.verify_checksum_of_file(file, folder)


def test_write_checksums_lists_checksum_of_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "report").write_bytes(b"alpha")
    checksums.write_checksum_of_file(tmp_path / "report", folder)
    listed = folder / "report.SHA256SUMS"
    assert listed.read_text() == "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8  report\n"
    checksums.write_checksums(folder)
    listed.write_text(listed.read_text().replace("8", "9"))
    with pytest.raises(ValueError, match=mismatch_of(folder, "report.SHA256SUMS")):
        checksums.verify_checksums(folder)
