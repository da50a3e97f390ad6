"""The backbone comparison pipeline: parallel backbones, of which the best is evaluated and published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from radiograft import storage
from radiograft_pipelines.local.object_store import embedded_store
from tests.e2e.runs import MODEL, REGISTRY, Run

BACKBONES = ["efficientnet_lite0", "squeezenet"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comparison") / "runs"


@pytest.fixture(scope="module")
def comparison(out: Path, small: Path, finish: Callable[..., Run]) -> Run:
    assignments = [f"compare_backbones={','.join(BACKBONES)}", "weights=none", "train_cached_augmentations=1"]
    return finish(out, small, *assignments, pipeline="backbone_comparison")


def test_comparison_trains_each_backbone_and_publishes_the_best(comparison: Run, out: Path) -> None:
    tasks = comparison.tasks
    assert {name: tasks[name] for name in ("extract-features", "fine-tune", "evaluate", "publish")} == {
        "extract-features": 2,
        "fine-tune": 2,
        "evaluate": 1,
        "publish": 1,
    }
    with embedded_store(out / "store"):
        contract = json.loads(storage.read_bytes(f"{REGISTRY}/{MODEL}/1/assets.extra/contract.json"))
        metrics = json.loads(storage.read_bytes(f"{REGISTRY}/{MODEL}/1/assets.extra/metrics.json"))
        lineage = json.loads(storage.read_bytes(f"{REGISTRY}/{MODEL}/1/assets.extra/lineage.json"))
    best, other = metrics["backbone_comparison"]["backbones"]
    assert {best["backbone"], other["backbone"]} == set(BACKBONES)
    assert best["trial"]["metrics"]["val_auroc"] >= other["trial"]["metrics"]["val_auroc"]
    assert contract["backbone"] == best["backbone"]
    assert contract["cut_off"] == best["trial"]["overrides"]["model_cut_off"]
    assert lineage["settings"]["compare_backbones"] == ",".join(BACKBONES)
    assert best["auroc"] == metrics["metrics"]["fine_tuning"]["validation"]["mean"]["auroc"]
    assert '<h2 id="backbone-comparison">' in Path(comparison.summary["report"]).read_text()
