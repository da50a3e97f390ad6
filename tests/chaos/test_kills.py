"""A run that is killed three times with SIGKILL, together with the object store, ends like an undisturbed run.

`make faults` kills fifty times at random moments. tests/integration kills single stages and publishers. Without
`Checkpoints.save` these tests fail, because a resumed stage would start over.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chaos.killed_runs import KilledRun, Moment
from tests.chaos.kills import compare, kill, reference_run
from tests.repository import ROOT

MOMENTS = (
    Moment("extract-features", words="feature extraction: epoch 1 of 3"),
    Moment("fine-tune", words="fine tuning: epoch 2 of 3"),
    Moment("publish", seconds=0.3),
)


class Disturbed(NamedTuple):
    """A killed run, the stages in which it was killed, errors seen meanwhile, and the digests of the reference run."""

    run: KilledRun
    where: list[str]
    errors: list[str]
    expected: dict[str, str]


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    work = tmp_path_factory.mktemp("kills")
    expected, _ = reference_run(work)
    run = KilledRun(work / "killed")
    return Disturbed(run, *kill(run, MOMENTS), expected)


def test_killed_run_equals_reference_run(disturbed: Disturbed) -> None:
    assert compare(disturbed.run, disturbed.expected) == []
    assert len(disturbed.expected) > 50


def test_killed_run_shows_no_incomplete_version(disturbed: Disturbed) -> None:
    assert disturbed.where[:2] == ["extract-features", "fine-tune"]
    assert disturbed.errors == []


def test_killed_run_resumes_after_last_finished_epoch(disturbed: Disturbed) -> None:
    attempts = disturbed.run.log().split("Executing task 'ingest'")[1:]
    (finished,) = (int(number) for number in re.findall(r"fine tuning: resuming after epoch (\d)", attempts[2]))
    assert finished >= 2
    assert f"fine tuning: epoch {finished} of 3" in attempts[1]
    assert f"fine tuning: epoch {finished} of 3" not in attempts[2]


def test_compare_changed_artifact_is_reported(disturbed: Disturbed) -> None:
    curve = Path(disturbed.run.summary()["artifacts"]) / "extract-features" / "features" / "curve.json"
    before = curve.read_text()
    curve.write_text(json.dumps(json.loads(before)[1:]))
    assert compare(disturbed.run, disturbed.expected) == ["extract-features/features/curve.json differs"]
    curve.write_text(before)


def test_resume_missing_run_raises(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "radiograft_pipelines.cli.main",
        "resume",
        "20200101-000000-abcd",
        "--out",
        str(tmp_path),
    ]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert process.returncode == 1
    assert "a run to resume must be a folder of" in process.stderr
    assert "'20200101-000000-abcd'" in process.stderr
