"""A run that is killed in the middle of fine-tuning and resumed ends as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from components import storage
from components.modeling.checkpoints import PREFIX
from pipelines.embedded_store import embedded_store
from tests.end_to_end.runs import REGISTRY, Run

CHANGES = ("train_fine_tune_epochs=6", "train_fine_tune_learning_rate=0.001", "train_patience=9")
SCRIPT = shutil.which("radiograft", path=str(Path(sys.executable).parent)) or "radiograft"


def kill_after(words: str, command: list[str]) -> None:
    """Starts a command and kills it, and nothing else, as soon as its log has these words."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        out = Path(command[command.index("--out") + 1])
        while process.poll() is None:
            if any(words in log.read_text() for log in out.glob("*/run.log")):
                os.kill(process.pid, signal.SIGKILL)
                return
    pytest.fail(f"the run ended before its log said {words!r}")


@pytest.fixture(scope="module")
def undisturbed(small: Path, finish: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finish(tmp_path_factory.mktemp("undisturbed") / "runs", small, *CHANGES)


@pytest.fixture(scope="module")
def resumed(small: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run that was killed once and then resumed, and what the second attempt printed."""
    out = tmp_path_factory.mktemp("killed") / "runs"
    changes = [part for change in CHANGES for part in ("--set", change)]
    kill_after("fine tuning: epoch 3", [SCRIPT, "run", "--settings", str(small), "--out", str(out), *changes])
    (run_id,) = (path.name for path in out.iterdir() if (path / "run.json").exists())
    done = subprocess.run([SCRIPT, "resume", run_id, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out, (out / run_id / "run.log").read_text()


def test_it_goes_on_after_the_last_finished_epoch(resumed: tuple[Path, str]) -> None:
    first, second = resumed[1].split("fine tuning: going on after epoch ")
    finished = int(second.splitlines()[0])
    assert finished >= 2
    assert f"fine tuning: epoch {finished} of 6" in first
    assert f"fine tuning: epoch {finished} of 6" not in second
    assert f"fine tuning: epoch {finished + 1} of 6" in second


def test_the_figures_are_those_of_an_undisturbed_run(resumed: tuple[Path, str], undisturbed: Run) -> None:
    summary = json.loads((resumed[0] / "latest" / "summary.json").read_text())
    for part in ("metrics", "feature_extraction", "data_fingerprint", "version"):
        assert summary[part] == undisturbed.summary[part]
    histories = [
        Path(each["artifacts"]) / "fine-tune" / "model" / "history.json" for each in (summary, undisturbed.summary)
    ]
    assert histories[0].read_bytes() == histories[1].read_bytes()
    assert json.loads(histories[0].read_text())["best_epoch"] > 0


def test_no_checkpoint_is_left_behind(resumed: tuple[Path, str]) -> None:
    with embedded_store(resumed[0] / "store"):
        assert list(storage.list_files(f"{REGISTRY}/{PREFIX}")) == []


def test_a_run_that_is_not_there_cannot_be_resumed(tmp_path: Path) -> None:
    command = [SCRIPT, "resume", "20200101-000000-abcd", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a run to resume must be a folder of" in done.stderr
    assert "'20200101-000000-abcd'" in done.stderr
