"""Preprocess in a separate process that kills itself with SIGKILL at a given function call.

`python -m tests.helpers.killed_preprocess CATALOG OUT KEPT MODULE FUNCTION CALL` dies at call number CALL. If KEPT, a
folder or gs:// prefix for checkpoints, is empty, the whole stage runs; otherwise one worker's share.
"""

from __future__ import annotations

import sys
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
    """Runs one attempt."""
    if kept:
        task.preprocess_share(SETTINGS, catalog, out, Checkpoints.of_task(kept, "a-run", "preprocess-0"))
    else:
        task.run(SETTINGS, catalog, out)


if __name__ == "__main__":
    catalog, out, kept, module, function, call = sys.argv[1:]
    shard_files.IMAGES_PER_SHARD = IMAGES_A_SHARD
    die_at(module, function, int(call))
    with stage("preprocess"):
        attempt(Path(catalog), Path(out), kept)
