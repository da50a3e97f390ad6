"""A run of the retraining pipeline skips training if the data equal those of the production version."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft_pipelines.local.object_store import embedded_store
from tests.e2e.runs import MODEL, REGISTRY, TwoRuns

Radiograft = Callable[..., subprocess.CompletedProcess[str]]
REASON = "data and settings have not changed since version 2, which is in production"


@pytest.fixture(scope="module")
def out(two_runs: TwoRuns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A separate runs folder with the registry of two runs and version 2 in production."""
    out = tmp_path_factory.mktemp("unchanged") / "runs"
    shutil.copytree(two_runs.store, out / "store")
    with embedded_store(out / "store"):
        current = production.read_production(REGISTRY, MODEL)
        production.promote(REGISTRY, MODEL, 2, current, reason="to be retrained where something changes")
    return out


@pytest.fixture(scope="module")
def done(out: Path, small: Path, radiograft: Radiograft) -> subprocess.CompletedProcess[str]:
    """A run as a schedule starts it."""
    return radiograft(out, small, pipeline="retraining")


def test_unchanged_data_run_stops_after_ingest(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("✓", "✗"))] == ["ingest"]
    assert done.stdout.splitlines()[-1] == f"{REASON}: nothing was trained"
    assert done.stderr == ""


def test_unchanged_data_run_writes_summary(done: subprocess.CompletedProcess[str], out: Path) -> None:
    assert not (out / "latest").exists()  # links to the last run that trained
    (folder,) = out.glob("20*")
    assert sorted(path.name for path in folder.iterdir()) == ["artifacts", "run.json", "run.log", "summary.json"]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["run_id"], summary["trained"], summary["reason"]) == (folder.name, False, REASON)
    assert [path.name for path in Path(summary["artifacts"]).iterdir()] == ["ingest"]


def test_unchanged_data_run_leaves_registry_unchanged(done: subprocess.CompletedProcess[str], out: Path) -> None:
    with embedded_store(out / "store"):
        assert registry.list_versions(REGISTRY, MODEL) == [1, 2]
        current = production.read_production(REGISTRY, MODEL)
    assert current is not None
    assert current.version == 2
