"""The cut-off search pipeline: parallel candidates, of which the best is evaluated and published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from radiograft import storage
from radiograft.training.search import results as search_results
from radiograft_pipelines.local.object_store import embedded_store
from tests.e2e.runs import MODEL, REGISTRY, Run

CUT_OFFS = ["block7a_expand_conv", "top_conv"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search") / "runs"


@pytest.fixture(scope="module")
def search(out: Path, small: Path, finish: Callable[..., Run]) -> Run:
    """A search over two cut-offs with a learning rate at which one epoch changes the model."""
    assignments = [
        f"cut_off={','.join(reversed(CUT_OFFS))}",
        "train_fine_tune_learning_rate=0.0001",
        "train_cached_augmentations=1",
    ]
    return finish(out, small, *assignments, pipeline="cutoff_search")


def test_search_runs_one_task_per_candidate(search: Run) -> None:
    assert search.tasks == {
        "ingest": 1,
        "list-workers": 1,
        "preprocess": 1,
        "collect-shards": 1,
        "extract-features": 1,
        "list-cut-offs": 1,
        "fine-tune": 2,
        "choose-model": 1,
        "evaluate": 1,
        "publish": 1,
    }
    assert f"cut-off candidates: {', '.join(CUT_OFFS)}\n" in search.output
    contracts = search.artifacts.glob("*/fine-tune/model/contract.json")
    assert sorted(json.loads(path.read_text())["cut_off"] for path in contracts) == CUT_OFFS


def test_search_publishes_best_candidate_with_all_trials(search: Run, out: Path) -> None:
    trials = search_results.read_trials(search.artifacts / "choose-model" / "model")
    assert [trial["overrides"]["model_cut_off"] for trial in trials] == CUT_OFFS
    with embedded_store(out / "store"):
        contract = json.loads(storage.read_bytes(f"{REGISTRY}/{MODEL}/1/assets.extra/contract.json"))
        metrics = json.loads(storage.read_bytes(f"{REGISTRY}/{MODEL}/1/assets.extra/metrics.json"))
        lineage = json.loads(storage.read_bytes(f"{REGISTRY}/{MODEL}/1/assets.extra/lineage.json"))
    assert contract["cut_off"] == search_results.best_trial(trials)["overrides"]["model_cut_off"]
    assert lineage["settings"]["model_cut_off"] == ",".join(
        reversed(CUT_OFFS)
    )  # as given, because a later run compares it
    assert metrics["cut_off_search"] == search.summary["cut_off_search"] == trials


def test_search_evaluation_equals_best_trial(search: Run) -> None:
    best = search_results.best_trial(search_results.read_trials(search.artifacts / "choose-model" / "model"))
    assert search.summary["metrics"]["validation"]["auroc"] == pytest.approx(best["metrics"]["val_auroc"], abs=0.01)
    assert "Cut-off search" in Path(search.summary["report"]).read_text()


def test_search_tensorboard_has_curves_per_candidate(search: Run) -> None:
    folder = Path(search.summary["tensorboard"])
    assert sorted(path.name for path in (folder / "fine_tuning").iterdir()) == CUT_OFFS
    for cut_off in CUT_OFFS:
        assert list((folder / "fine_tuning" / cut_off).rglob("*tfevents*"))
    assert (folder / "feature_extraction").is_dir()
