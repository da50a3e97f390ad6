"""Preprocess in a separate process that kills itself with SIGKILL at a given function call."""

from __future__ import annotations

from pathlib import Path

from radiograft.config import Preprocess
from radiograft.data.shards import files as shard_files
from radiograft.stages.preprocess import task
from radiograft.stages.runtime import stage
from radiograft.training.checkpoints import Checkpoints
from tests.helpers.killed_stage import die_at

IMAGES_A_SHARD = 16
SETTINGS = Preprocess(image_size=32)


def attempt(catalog: Path, out: Path, kept: str) -> None:
    """Runs one worker's share with checkpoints in the folder or gs:// prefix `kept`, or the whole stage without."""
    if kept:
        task.preprocess_share(SETTINGS, catalog, out, Checkpoints.of_task(kept, "a-run", "preprocess-0"))
    else:
        task.run(SETTINGS, catalog, out)


def run_killed(catalog: str, out: str, kept: str, module: str, function: str, call: str) -> None:
    """Runs an attempt in a process that dies at call number `call` of the function."""
    shard_files.IMAGES_PER_SHARD = IMAGES_A_SHARD
    die_at(module, function, int(call))
    with stage("preprocess"):
        attempt(Path(catalog), Path(out), kept)
