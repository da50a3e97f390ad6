"""Trials of a hyperparameter search on the 729 radiographs, compared with separate runs of the stages."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping
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
MIN_CUT_OFF_SPEEDUP = 10
CHANGES: dict[str, Scalar] = {"model_weights": "none", "search_pruner": "none", "publish_registry": "/registry"}


def measure(work: Path, **changes: Scalar) -> list[Row]:
    """Measures seconds of searches and of single runs; `changes` are settings for a smaller measurement."""
    source = str(Path(os.environ["RADIOGRAFT_TEST_DATA"]) / "chestxray14")
    settings = fill_defaults({**load_settings_file("chestxray14"), "data_source": source, **CHANGES, **changes})
    rows = len(ingest.run(Ingest.of(settings), work / "catalog").rows)
    preprocess.run(Preprocess.of(settings), work / "catalog", work / "shards")
    size = f"{rows} radiographs, {settings['model_backbone']} with random weights at {settings['image_size']} px"
    return [_measure_head(settings, work, size), _measure_cut_offs(settings, work, size)]


def _measure_head(settings: Mapping[str, Scalar], work: Path, size: str) -> Row:
    single = seconds(lambda: _extract(settings, work, "single"))
    searched = {**settings, "search_space": "quick", "search_trials": HEAD_TRIALS}
    ours = seconds(lambda: task.run(searched, _inputs(work, "head")))
    how = f"{HEAD_TRIALS} trials of the search space quick against one run of extract_features: {size}."
    return Row.cost("trials_head", ours, single, floor=MAX_HEAD_COST, unit="s", how=how)


def _measure_cut_offs(settings: Mapping[str, Scalar], work: Path, size: str) -> Row:
    theirs = [seconds(lambda each=each: _fine_tune(settings, work, each)) for each in TIMED_CUT_OFFS]
    searched = {
        **settings,
        "search_space": json.dumps({"model_cut_off": CUT_OFFS}),
        "search_trials": len(CUT_OFFS),
    }
    ours = seconds(lambda: task.run(searched, _inputs(work, "cut_offs")))
    how = (
        f"A search over {len(CUT_OFFS)} cut-offs against separate runs of extract_features and fine_tune, those from "
        f"{' and '.join(TIMED_CUT_OFFS)} timed, and their mean times {len(CUT_OFFS)}: {size}."
    )
    total = len(CUT_OFFS) * statistics.mean(theirs)
    return Row.speedup("trials_cut_offs", ours, total, floor=MIN_CUT_OFF_SPEEDUP, how=how)


def _inputs(work: Path, name: str) -> TrialInputs:
    folder = work / name
    checkpoints = Checkpoints(str(folder / "checkpoints"))
    return TrialInputs(work / "catalog", work / "shards", folder / "scratch", folder / "logs", checkpoints)


def _extract(settings: Mapping[str, Scalar], work: Path, name: str) -> Path:
    folder = work / name
    chosen, none = ExtractFeatures.of(settings), Checkpoints("")
    extract_features.run(chosen, work / "shards", folder / "features", folder / "start", folder / "logs", none)
    return folder


def _fine_tune(settings: Mapping[str, Scalar], work: Path, cut_off: str) -> None:
    chosen = resolve_trial(settings, {"model_cut_off": cut_off})
    folder, none = _extract(chosen, work, cut_off), Checkpoints("")
    model, logs = folder / "model", folder / "logs"
    fine_tune.run(FineTune.of(chosen), work / "shards", folder / "start", model, logs, none)
