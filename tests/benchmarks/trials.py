"""Trials of a hyperparameter search on the 729 radiographs, compared with separate runs of the stages."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from radiograft.config import ExtractFeatures, FineTune, Ingest, Preprocess
from radiograft.config.base import Scalar
from radiograft.config.resolution import fill_defaults, load_settings_file, resolve_trial
from radiograft.search import task
from radiograft.search.runner import TrialInputs
from radiograft.stages.extract_features import task as extract_features
from radiograft.stages.fine_tune import task as fine_tune
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.training.checkpoints import Checkpoints
from tests.benchmarks.row import Row
from tests.benchmarks.timing import seconds

HEAD_TRIALS, MAX_HEAD_COST = 40, 3
CUT_OFFS = [f"conv5_block{number}_1_conv" for number in range(1, 17)]
TIMED_CUT_OFFS = (CUT_OFFS[0], CUT_OFFS[-1])  # of the separate runs; in between, the time grows linearly
TIMED_EPOCHS = (1, 3)  # of the separate runs; the difference gives the time of an epoch
CUT_OFF_SIZE = 96
MIN_CUT_OFF_SPEEDUP = 10
CHANGES: dict[str, Scalar] = {"model_weights": "none", "publish_registry": "/registry"}
Settings = Mapping[str, Scalar]


def measure_head(work: Path, **changes: Scalar) -> list[Row]:
    """Measures processor seconds of a search over the classifier; `changes` are settings for a smaller measurement."""
    settings, size = _prepare(work, changes)
    before = _processor_seconds(lambda: _extract(settings, work, "before"))
    searched = {**settings, "search_space": "quick", "search_trials": HEAD_TRIALS}
    ours = _processor_seconds(lambda: task.run(searched, _inputs(work, "head")))
    after = _processor_seconds(lambda: _extract(settings, work, "after"))
    how = (
        f"{HEAD_TRIALS} trials of the search space quick, pruner {settings['search_pruner']}, against the mean of two "
        f"runs of extract_features, before and after the search; processor time: {size}."
    )
    return [Row.cost("trials_head", ours, statistics.mean((before, after)), floor=MAX_HEAD_COST, unit="s", how=how)]


def measure_cut_offs(work: Path, **changes: Scalar) -> list[Row]:
    """Measures processor seconds of a search over cut-offs and of runs of the stages, with smaller images."""
    settings, size = _prepare(work, {"image_size": CUT_OFF_SIZE, **changes})
    start = work / "separate" / "start"
    separate = _processor_seconds(lambda: _extract(settings, work, "separate"))
    tuning = [_seconds_of_tuning(settings, work, start, cut_off) for cut_off in TIMED_CUT_OFFS]
    space = json.dumps({"model_cut_off": CUT_OFFS})
    searched = {**settings, "search_space": space, "search_trials": len(CUT_OFFS), "search_pruner": "none"}
    ours = _processor_seconds(lambda: task.run(searched, _inputs(work, "cut_offs")))
    how = (
        f"A search over {len(CUT_OFFS)} cut-offs of {settings['train_fine_tune_epochs']} epochs, without pruning, "
        "against separate runs of extract_features and fine_tune with train_augmentation=online, as without shared "
        f"activations: those from {' and '.join(TIMED_CUT_OFFS)} timed for {TIMED_EPOCHS[-1]} epochs, scaled to all, "
        f"and their mean times {len(CUT_OFFS)}; processor time: {size}."
    )
    total = len(CUT_OFFS) * (separate + statistics.mean(tuning))
    return [Row.speedup("trials_cut_offs", ours, total, floor=MIN_CUT_OFF_SPEEDUP, how=how)]


def _prepare(work: Path, changes: Settings) -> tuple[dict[str, Scalar], str]:
    """Writes catalog and shards; returns the settings and a description of the data."""
    source = str(Path(os.environ["RADIOGRAFT_TEST_DATA"]) / "chestxray14")
    settings = fill_defaults({**load_settings_file("chestxray14"), "data_source": source, **CHANGES, **changes})
    rows = len(ingest.run(Ingest.of(settings), work / "catalog").rows)
    preprocess.run(Preprocess.of(settings), work / "catalog", work / "shards")
    size = f"{rows} radiographs, {settings['model_backbone']} with random weights at {settings['image_size']} px"
    return settings, size


def _processor_seconds(work: Callable[[], object]) -> float:
    return seconds(work, time.process_time)


def _inputs(work: Path, name: str) -> TrialInputs:
    folder = work / name
    checkpoints = Checkpoints(str(folder / "checkpoints"))
    return TrialInputs(work / "catalog", work / "shards", folder / "scratch", folder / "logs", checkpoints)


def _extract(settings: Settings, work: Path, name: str) -> None:
    folder, chosen = work / name, ExtractFeatures.of(settings)
    extract_features.run(
        chosen, work / "shards", folder / "features", folder / "start", folder / "logs", Checkpoints("")
    )


def _seconds_of_tuning(settings: Settings, work: Path, start: Path, cut_off: str) -> float:
    """Returns the processor seconds of fine_tune with all epochs, from those of a run with few and one with more."""
    chosen = resolve_trial(settings, {"model_cut_off": cut_off, "train_augmentation": "online"})
    few, more = (
        _processor_seconds(lambda epochs=epochs: _fine_tune({**chosen, "train_fine_tune_epochs": epochs}, work, start))
        for epochs in TIMED_EPOCHS
    )
    left = int(settings["train_fine_tune_epochs"]) - TIMED_EPOCHS[-1]
    return more + left * (more - few) / (TIMED_EPOCHS[-1] - TIMED_EPOCHS[0])


def _fine_tune(settings: Settings, work: Path, start: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir=work))
    model, logs = folder / "model", folder / "logs"
    fine_tune.run(FineTune.of(settings), work / "shards", start, model, logs, Checkpoints(""))
