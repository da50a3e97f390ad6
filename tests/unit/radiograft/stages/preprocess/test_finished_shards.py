"""Shards finished by an earlier attempt: reused if intact, otherwise written again."""

from __future__ import annotations

from pathlib import Path

import pytest

from radiograft import storage
from radiograft.stages.preprocess.task import SUFFIXES, FinishedShards
from radiograft.training.checkpoints import Checkpoints

NAME = "train-00000-of-00001"


def attempt(folder: Path, kept: str) -> FinishedShards:
    return FinishedShards.open(folder, Checkpoints(kept), "the same work")


@pytest.fixture
def kept(tmp_path: Path, place: str) -> str:
    """URI where a first attempt stored a copy of a shard."""
    first = attempt(tmp_path / "first", f"{place}/kept")
    for suffix in SUFFIXES:
        (first.folder / (NAME + suffix)).write_bytes(f"content of {suffix}".encode())
    first.copy(NAME)
    return f"{place}/kept"


def test_has_restores_copied_shard(kept: str, tmp_path: Path) -> None:
    second = attempt(tmp_path / "second", kept)
    assert second.has(NAME)
    assert [(second.folder / (NAME + suffix)).read_text() for suffix in SUFFIXES] == [
        "content of .tfrecord",
        "content of .parquet",
    ]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_has_corrupt_copy_returns_false_and_logs(
    kept: str, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    second = attempt(tmp_path / "second", kept)
    uri = storage.join(second.copies.uri, NAME + suffix)
    content = storage.read_bytes(uri)
    storage.write_bytes(uri, content[:-1] + bytes([content[-1] ^ 1]))
    assert not second.has(NAME)
    assert f"ignoring the corrupt checkpoint {uri}" in caplog.text
