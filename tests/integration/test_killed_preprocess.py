"""Preprocess killed with SIGKILL at any moment: the next attempt resumes and writes the same bytes."""

from __future__ import annotations

import hashlib
import logging
import signal
import uuid
from pathlib import Path

import pytest

from radiograft import storage
from radiograft.data.shards import files as shard_files
from tests.helpers import killed_preprocess
from tests.helpers.forked import run_forked
from tests.helpers.killed_preprocess import IMAGES_A_SHARD, attempt

SHARDS = 4 + 3 + 2  # of 58, 39 and 31 images


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(shard_files, "IMAGES_PER_SHARD", IMAGES_A_SHARD)
    caplog.set_level(logging.INFO, "radiograft")


def run_killed(catalog: Path, out: Path, kept: str, moment: str) -> str:
    """Runs an attempt that is killed; returns its standard output."""
    out.parent.mkdir(exist_ok=True)
    process = run_forked(
        killed_preprocess.run_killed, str(catalog), str(out), kept, *moment.split(), scratch=out.parent
    )
    assert process.status == -signal.SIGKILL
    return process.output


def digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file by name, so that a failed comparison names the files that differ."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_preprocess_killed_three_times_resumes(catalog_folder: Path, tmp_path: Path) -> None:
    """Killed within the third shard, between its images and its row status, and while shards are merged."""
    out = tmp_path / "out"
    run_killed(catalog_folder, out, "", f"radiograft.data.shards.records _serialize {2 * IMAGES_A_SHARD + 5}")
    assert sorted(path.name for path in (out / "part").glob("*.parquet")) == [
        "train-00000-of-00004.parquet",
        "train-00001-of-00004.parquet",
    ]
    output = run_killed(catalog_folder, out, "", "radiograft.data.shards.row_status write 1")
    assert f"resuming: 2 of {SHARDS} shards are finished" in output
    assert (out / "part" / "train-00002-of-00004.tfrecord").is_file()
    output = run_killed(catalog_folder, out, "", "radiograft.data.shards.files copy_records 4")
    assert f"resuming: 2 of {SHARDS} shards are finished" in output
    before = {path.name: path.stat().st_mtime_ns for path in (out / "part").glob("train-*")}
    assert not (out / "shards.json").exists()
    attempt(catalog_folder, out, "")
    attempt(catalog_folder, tmp_path / "whole", "")
    assert len(before) == 2 * 4
    assert digests(out) == digests(tmp_path / "whole")


def test_preprocess_new_pod_resumes_from_object_store(
    catalog_folder: Path, embedded: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed while the fourth shard is uploaded."""
    kept = f"{embedded}/{uuid.uuid4()}"
    run_killed(catalog_folder, tmp_path / "first", kept, "radiograft.storage write_bytes 9")
    left = [Path(entry.name).name for entry in storage.list_files(kept)]
    assert left == [
        *(f"train-0000{number}-of-00004.{suffix}" for number in range(3) for suffix in ("parquet", "tfrecord")),
        "train-00003-of-00004.tfrecord",
    ]
    attempt(catalog_folder, tmp_path / "second", kept)
    assert f"resuming: 3 of {SHARDS} shards are finished" in caplog.text
    attempt(catalog_folder, tmp_path / "whole", str(tmp_path / "kept"))
    assert digests(tmp_path / "second") == digests(tmp_path / "whole")
    attempt(catalog_folder, tmp_path / "third", kept)  # killed between its end and the upload of its outputs
    assert f"resuming: {SHARDS} of {SHARDS} shards are finished" in caplog.text
    assert digests(tmp_path / "third") == digests(tmp_path / "whole")
