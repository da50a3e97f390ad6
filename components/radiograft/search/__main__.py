"""Runs one step of a local search: `python -m radiograft.search FOLDER prepare`, `work NUMBER` or `finish`.

FOLDER contains settings.json. The steps write the catalog, the shards, the checkpoints with the study, the TensorBoard
logs and the results there.
"""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path

from radiograft.config import Ingest, Preprocess
from radiograft.config.base import read_settings
from radiograft.config.search import resolve_strategy
from radiograft.search import finish, task
from radiograft.search.runner import TrialInputs
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.training.checkpoints import Checkpoints
from radiograft.utils.logging import configure_logging
from radiograft.utils.processes import end_with_parent


def folder_inputs(folder: Path, worker: int = 0) -> TrialInputs:
    """Returns the inputs of a worker of a local search."""
    return TrialInputs(
        catalog=folder / "catalog",
        shards=folder / "shards",
        scratch=folder / "scratch" / str(worker),
        logs=folder / "tensorboard",
        checkpoints=Checkpoints(str(folder / "checkpoints")),
    )


def main(folder: Path, step: str, worker: int = 0) -> None:
    """Runs one step."""
    settings, inputs = read_settings(folder), folder_inputs(folder, worker)
    if step == "work":
        task.run(settings, inputs, worker)
    elif step == "finish":
        finish.run(settings, inputs, folder)
        shutil.rmtree(folder / "scratch")
    else:
        resolve_strategy(settings)  # fails before the images are read
        ingest.run(Ingest.of(settings), inputs.catalog, int(settings["train_batch_size"]))
        preprocess.run(Preprocess.of(settings), inputs.catalog, inputs.shards)


if __name__ == "__main__":
    configure_logging()
    logging.getLogger("radiograft.training").setLevel(logging.WARNING)  # the search logs a line for each trial
    end_with_parent()
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
