"""The search as tasks of a pipeline: what a worker writes, and what the tasks that train the winner read."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from radiograft.config import Preprocess
from radiograft.config.base import Scalar, read_settings, record
from radiograft.registry.search_types import SearchResults
from radiograft.search import finish, progress, task
from radiograft.search.runner import TrialInputs, shards_folder
from radiograft.stages.ingest.resolve import write_stage_settings
from radiograft.storage import checksums
from radiograft.training.checkpoints import Checkpoints

TASK = "search"  # all workers share the checkpoints of this name
WORKER, TENSORBOARD = "worker.json", "tensorboard"
AUGMENTATION = "augmentation.json"

Settings = Mapping[str, Scalar]


class SearchFolders(NamedTuple):
    """Folders that earlier tasks wrote, and the checkpoints with the study."""

    catalog: Path
    shards: Path
    checkpoints: Checkpoints

    def inputs(self, scratch: str, logs: Path) -> TrialInputs:
        """Returns the inputs of a worker with its own folders."""
        return TrialInputs(self.catalog, self.shards, Path(scratch), logs, self.checkpoints)


def run_worker(settings: Settings, folders: SearchFolders, worker: int, output: Path) -> dict[str, float]:
    """Runs the trials of a worker and writes their TensorBoard logs to `output`.

    Returns:
        Metrics for the KFP UI, see `worker_metrics`.
    """
    with tempfile.TemporaryDirectory(prefix="radiograft-search-") as scratch:
        study = task.run(settings, folders.inputs(scratch, output / TENSORBOARD), worker)
    metrics = progress.worker_metrics(study)
    output.mkdir(parents=True, exist_ok=True)
    (output / WORKER).write_text(json.dumps({"worker": worker, **metrics}, indent=2))
    return metrics


def choose(
    settings: Settings, folders: SearchFolders, workers: Sequence[Path], output: Path, shards: Path
) -> SearchResults:
    """Chooses the winner and writes what its training needs.

    Args:
        settings: settings of all stages.
        folders: as those of the workers.
        workers: folders that the workers wrote.
        output: folder for the results, see `finish.run`, with the TensorBoard logs of all trials.
        shards: folder for the shards with the winner's images, augmentation and settings.

    Raises:
        RuntimeError: no trial is complete.
    """
    logs = output / TENSORBOARD
    for source in (folder / TENSORBOARD for folder in workers):
        if source.is_dir():  # a worker that came last has no trial
            shutil.copytree(source, logs, dirs_exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="radiograft-search-") as scratch:
        inputs = folders.inputs(scratch, logs)
        results = finish.run(settings, inputs, output)
        write_shards(settings, finish.winner_settings(settings, results), inputs, shards)
    return results


def write_shards(settings: Settings, chosen: Settings, inputs: TrialInputs, shards: Path) -> None:
    """Writes shards with the images, the augmentation and the settings of the winner.

    Args:
        settings: settings of the search.
        chosen: settings of the winner.
        inputs: folders of the search.
        shards: folder to write.
    """
    source = shards_folder(settings, chosen, inputs)
    shutil.copytree(source, shards, ignore=shutil.ignore_patterns(checksums.NAME), dirs_exist_ok=True)
    augmentation = dataclasses.asdict(Preprocess.of(chosen).augmentation())
    (shards / AUGMENTATION).write_text(json.dumps(augmentation, indent=2))
    record(shards, {**read_settings(shards), **chosen})  # evaluate reports them


def write_winner(output: Path, shards: Path, report: Path, files: Mapping[str, str]) -> None:
    """Writes the report, and the winner's settings of later stages, from the folders that `choose` wrote.

    Args:
        output, shards: as for `choose`.
        report: HTML file.
        files: path by output name; see `write_stage_settings`.
    """
    report.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(output / finish.REPORT, report)
    write_stage_settings(read_settings(shards), files)


def choice_metrics(results: SearchResults) -> dict[str, float]:
    """Returns what the KFP UI shows of the choice; names have at most 20 characters."""
    defaults, winner = (results["finalists"][place] for place in (0, results["winner"]))
    optimism = results["optimism"]
    return {
        "trials": len(results["trials"]),
        "trials_complete": sum(trial["state"] == "complete" for trial in results["trials"]),
        "mean_of_winner": winner["mean"],
        "mean_of_defaults": defaults["mean"],
        **({"corrected_best_trial": optimism["corrected"]} if optimism else {}),
    }
