"""Two runs of the pipeline, started together on one registry, one source and one scratch disk, both end right."""

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
class AtOnce:
    """What two runs shared, and the summary of each."""

    registry: str
    scratch: Path
    summaries: list[dict[str, Any]]


@pytest.fixture(scope="module")
def at_once(small: Path, tmp_path_factory: pytest.TempPathFactory) -> AtOnce:
    folder = tmp_path_factory.mktemp("at_once")
    shared = AtOnce(str(folder / "registry"), folder / "scratch", [])
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


def test_each_has_a_whole_version_of_its_own(at_once: AtOnce) -> None:
    """The runs seldom claim at the same moment; tests/integration/test_publishers.py has 32 do so."""
    assert registry.list_versions(at_once.registry, MODEL) == [1, 2]
    assert sorted(summary["version"] for summary in at_once.summaries) == [1, 2]
    for summary in at_once.summaries:
        registry.verify_version(at_once.registry, MODEL, summary["version"])
        lineage = storage.read_bytes(f"{summary['version_uri']}/assets.extra/lineage.json")
        assert json.loads(lineage)["run_id"] == summary["run_id"]


def test_production_is_what_a_run_said_of_itself(at_once: AtOnce) -> None:
    found = production.read_production(at_once.registry, MODEL)
    assert found is not None
    said = {summary["version"] for summary in at_once.summaries if summary["standing"] == "production"}
    assert {change.version for change in found.history} == said
    assert len(found.history) == len(said)


def test_neither_disturbs_the_other(at_once: AtOnce) -> None:
    """Fails where cached activations of both runs lie in one place. Checkpoints may: they are found by their work."""
    one, other = at_once.summaries
    for part in ("metrics", "feature_extraction", "data_fingerprint"):
        assert one[part] == other[part]
    histories = [Path(each["artifacts"], "fine-tune", "model", "history.json").read_bytes() for each in (one, other)]
    assert histories[0] == histories[1]


def test_nothing_is_left_beside_versions(at_once: AtOnce) -> None:
    """Fails where a run that has published leaves its checkpoints. The folder of all runs' stays, for the other's."""
    assert {path.name for path in Path(at_once.registry).iterdir()} == {MODEL, registry.CHECKPOINTS}
    assert list(Path(at_once.registry, registry.CHECKPOINTS).iterdir()) == []
    assert list(at_once.scratch.iterdir()) == []
