"""A run that SIGKILL ended three times, and the store with it, ends as one that nobody disturbed.

`make faults` does it fifty times, at random moments. Stages and publishers that are killed by themselves are tested in
tests/components. Without `Checkpoints.save` these tests fail, for a resumed stage begins anew.
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
from tests.chaos.kills import compare, kill, undisturbed
from tests.repository import ROOT

MOMENTS = (
    Moment("extract-features", words="feature extraction: epoch 1 of 3"),
    Moment("fine-tune", words="fine tuning: epoch 2 of 3"),
    Moment("publish", seconds=0.7),
)


class Disturbed(NamedTuple):
    """A run that was killed, where, what was wrong in between, and the digests of one that nobody disturbed."""

    run: KilledRun
    where: list[str]
    wrong: list[str]
    expected: dict[str, str]


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    work = tmp_path_factory.mktemp("kills")
    expected, _ = undisturbed(work)
    run = KilledRun(work / "killed")
    return Disturbed(run, *kill(run, MOMENTS), expected)


def test_nothing_is_lost(disturbed: Disturbed) -> None:
    assert compare(disturbed.run, disturbed.expected) == []
    assert len(disturbed.expected) > 50


def test_no_reader_sees_half_a_version_in_between(disturbed: Disturbed) -> None:
    assert disturbed.where[:2] == ["extract-features", "fine-tune"]
    assert disturbed.wrong == []


def test_it_goes_on_after_the_last_finished_epoch(disturbed: Disturbed) -> None:
    attempts = disturbed.run.said().split("Executing task 'ingest'")[1:]
    (finished,) = (int(number) for number in re.findall(r"fine tuning: resuming after epoch (\d)", attempts[2]))
    assert finished >= 2
    assert f"fine tuning: epoch {finished} of 3" in attempts[1]
    assert f"fine tuning: epoch {finished} of 3" not in attempts[2]


def test_a_difference_would_be_noticed(disturbed: Disturbed) -> None:
    curve = Path(disturbed.run.summary()["artifacts"]) / "extract-features" / "features" / "curve.json"
    before = curve.read_text()
    curve.write_text(json.dumps(json.loads(before)[1:]))
    assert compare(disturbed.run, disturbed.expected) == ["extract-features/features/curve.json differs"]
    curve.write_text(before)


def test_a_run_that_is_not_there_cannot_be_resumed(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "radiograft_pipelines.cli.main",
        "resume",
        "20200101-000000-abcd",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "a run to resume must be a folder of" in done.stderr
    assert "'20200101-000000-abcd'" in done.stderr
