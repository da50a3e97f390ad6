"""Two concurrent runs that share registry, data source and temporary folder both succeed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from tests.e2e.runs import MODEL, SCRIPT


@dataclasses.dataclass(frozen=True)
class ConcurrentRuns:
    """The folders that two runs shared, and their summaries."""

    registry: str
    scratch: Path
    summaries: list[dict[str, Any]]


@pytest.fixture(scope="module")
def concurrent_runs(small: Path, tmp_path_factory: pytest.TempPathFactory) -> ConcurrentRuns:
    folder = tmp_path_factory.mktemp("concurrent")
    shared = ConcurrentRuns(str(folder / "registry"), folder / "scratch", [])
    shared.scratch.mkdir()
    changes = [f"publish_registry={shared.registry}", f"data_source={folder / 'source'}", "train_augmentation=cached"]
    options = ["--settings", str(small), *(part for change in changes for part in ("--set", change))]
    outs = [folder / name for name in ("one", "other")]
    variables = os.environ | {"TMPDIR": str(shared.scratch)}
    runs = [
        subprocess.Popen(
            [SCRIPT, "run", "--out", str(out), *options],
            env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for out in outs
    ]  # fmt: skip
    for run, out in zip(runs, outs, strict=True):
        printed, _ = run.communicate()
        assert run.returncode == 0, printed
        shared.summaries.append(json.loads((out / "latest" / "summary.json").read_text()))
    return shared


def test_concurrent_runs_publish_separate_versions(concurrent_runs: ConcurrentRuns) -> None:
    """These runs rarely claim a version at the same time; tests/integration/test_publishers.py makes 32 do so."""
    assert registry.list_versions(concurrent_runs.registry, MODEL) == [1, 2]
    assert sorted(summary["version"] for summary in concurrent_runs.summaries) == [1, 2]
    for summary in concurrent_runs.summaries:
        registry.verify_version(concurrent_runs.registry, MODEL, summary["version"])
        lineage = storage.read_bytes(f"{summary['version_uri']}/assets.extra/lineage.json")
        assert json.loads(lineage)["run_id"] == summary["run_id"]


def test_production_history_equals_promoted_runs(concurrent_runs: ConcurrentRuns) -> None:
    current = production.read_production(concurrent_runs.registry, MODEL)
    assert current is not None
    promoted = {summary["version"] for summary in concurrent_runs.summaries if summary["standing"] == "production"}
    assert {change.version for change in current.history} == promoted
    assert len(current.history) == len(promoted)


def test_concurrent_runs_have_identical_results(concurrent_runs: ConcurrentRuns) -> None:
    """Fails if the runs share cached activations. They may share checkpoints, which are keyed by content."""
    one, other = concurrent_runs.summaries
    for part in ("metrics", "feature_extraction", "data_fingerprint"):
        assert one[part] == other[part]
    histories = [
        Path(summary["artifacts"], "fine-tune", "model", "history.json").read_bytes() for summary in (one, other)
    ]
    assert histories[0] == histories[1]


def test_concurrent_runs_leave_only_versions(concurrent_runs: ConcurrentRuns) -> None:
    """Fails if a published run leaves its checkpoints. Their parent folder stays for other runs."""
    assert {path.name for path in Path(concurrent_runs.registry).iterdir()} == {
        MODEL,
        registry.CHECKPOINTS,
        registry.TENSORBOARD,
    }
    assert list(Path(concurrent_runs.registry, registry.CHECKPOINTS).iterdir()) == []
    assert list(concurrent_runs.scratch.iterdir()) == []
