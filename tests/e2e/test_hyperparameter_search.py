"""The hyperparameter search pipeline: two workers share a study, and the winner is evaluated and published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from radiograft import storage
from radiograft_pipelines.local.object_store import embedded_store
from tests.e2e.runs import MODEL, REGISTRY, Run

SPACE = {"model_backbone": ["efficientnet_lite0", "squeezenet"], "image_size": [64, 96], "model_dense_units": [0, 64]}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search") / "runs"


@pytest.fixture(scope="module")
def search(out: Path, small: Path, finish: Callable[..., Run]) -> Run:
    assignments = [
        f"search_space={json.dumps(SPACE)}", "search_trials=4", "search_workers=2", "search_seeds=1",
        "search_finalists=1", "search_folds=2", "weights=none", "train_cached_augmentations=1",
    ]  # fmt: skip
    return finish(out, small, *assignments, pipeline="hyperparameter_search")


def test_search_workers_share_the_trials(search: Run) -> None:
    assert search.tasks == {
        "ingest": 1,
        "list-workers": 1,
        "preprocess": 1,
        "collect-shards": 1,
        "list-search-workers": 1,
        "run-trials": 2,
        "choose-settings": 1,
        "extract-features": 1,
        "fine-tune": 1,
        "evaluate": 1,
        "publish": 1,
    }
    workers = [json.loads(path.read_text()) for path in search.artifacts.glob("*/run-trials/trials/worker.json")]
    assert sorted(worker["worker"] for worker in workers) == [0, 1]
    assert sum(worker["trials"] for worker in workers) == 4
    assert "4 of 4 trials, about 0 min left" in search.output


def test_search_publishes_the_winner_with_its_settings(search: Run, out: Path) -> None:
    folder = Path(search.summary["search"])
    assert {"best.yaml", "journal.log", "search.html", "search_results.json", "tensorboard"} <= {
        path.name for path in folder.iterdir()
    }
    results = json.loads((folder / "search_results.json").read_text())
    winner = results["finalists"][results["winner"]]
    with embedded_store(out / "store"):
        lineage = json.loads(storage.read_bytes(f"{REGISTRY}/{MODEL}/1/assets.extra/lineage.json"))
        contract = json.loads(storage.read_bytes(f"{REGISTRY}/{MODEL}/1/assets.extra/contract.json"))
        checkpoints = list(storage.list_files(f"{REGISTRY}/_checkpoints"))
    assert lineage["settings"] == {**lineage["settings"], **winner["overrides"]}
    assert lineage["settings"]["search_workers"] == 2
    backbone = winner["overrides"].get("model_backbone", "efficientnet_lite0")
    assert contract["backbone"] == lineage["settings"]["model_backbone"] == backbone
    reached = search.summary["feature_extraction"]["validation"]["auroc"]
    assert reached == pytest.approx(winner["metrics"][0], abs=1e-4)
    assert checkpoints == []  # the study is in the search folder
