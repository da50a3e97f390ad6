"""The whole pipeline in real processes, killed with SIGKILL at random moments and resumed to its end."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from radiograft_pipelines.local.progress import COLOR_CODES, TASK_STARTED
from tests.repository import ROOT

REGISTRY = "gs://radiograft-embedded/registry"
SETTINGS = f"""\
data_format: phantom
data_source: gs://radiograft-embedded/phantom
data_phantom_patients: 60
data_validation_fraction: 0.25
evaluate_bootstrap_samples: 100
evaluate_min_patients: 1
image_size: 32
model_backbone: efficientnet_lite0
model_cut_off: block7a_expand_conv
model_dense_units: 16
publish_registry: {REGISTRY}
train_batch_size: 16
train_feature_epochs: 3
train_feature_learning_rate: 0.0003
train_fine_tune_epochs: 3
train_fine_tune_learning_rate: 0.0003
train_patience: 9
"""
POLL_INTERVAL = 0.02  # seconds
ATTEMPT_TIMEOUT = 900.0  # seconds


class Moment(NamedTuple):
    """When to kill a run: this long after the stage has started and the log contains the words."""

    stage: str
    seconds: float = 0.0
    words: str = ""


def moments(count: int, seconds: dict[str, float], seed: int) -> Iterator[Moment]:
    """Yields a random moment in each stage, in random order, repeatedly.

    Args:
        seconds: duration of each stage by name, from summary.json.
    """
    rng = random.Random(seed)
    rounds = (rng.sample(sorted(seconds), len(seconds)) for _ in itertools.count())
    for stage in itertools.islice(itertools.chain.from_iterable(rounds), count):
        yield Moment(stage.replace("_", "-"), rng.random() * seconds[stage])


class KilledRun:
    """A run in its own folder: started by the first attempt, resumed by all others."""

    def __init__(self, out: Path, **environment: str) -> None:
        self.out, self.environment = out, os.environ | environment
        out.mkdir(parents=True, exist_ok=True)
        (out / "settings.yaml").write_text(SETTINGS)

    def attempt(self, moment: Moment | None = None) -> str:
        """Starts or resumes the run; returns the stage in which it was killed, or an empty string if it succeeded.

        Raises:
            RuntimeError: the run failed; the message is its output.
        """
        read = len(self._raw_log())
        with (self.out / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                self._command(),
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            killed = self._kill_at(moment, process, read)
        if process.wait() == 0:
            return ""
        if process.returncode != -signal.SIGKILL or not killed:
            raise RuntimeError((self.out / "output.txt").read_text(errors="replace"))
        return killed

    def failure(self) -> str | None:
        """Starts or resumes the run; returns its output if it failed."""
        try:
            self.attempt()
        except RuntimeError as error:
            return str(error)
        return None

    def stages(self) -> list[str]:
        """Returns the stages that the attempts started."""
        return TASK_STARTED.findall(self.log())

    def summary(self) -> dict[str, Any]:
        """Returns the summary of the finished run."""
        return dict(json.loads((self.out / "latest" / "summary.json").read_text()))

    def log(self) -> str:
        """Returns the log of all attempts without color codes."""
        return COLOR_CODES.sub("", self._raw_log())

    def _command(self) -> list[str]:
        started = [path.parent.name for path in self.out.glob("*/run.json") if not path.parent.is_symlink()]
        command = ["resume", *started] if started else ["run", "--settings", str(self.out / "settings.yaml")]
        return [sys.executable, "-m", "radiograft_pipelines.cli.main", *command, "--out", str(self.out)]

    def _kill_at(self, moment: Moment | None, process: subprocess.Popen[bytes], read: int) -> str:
        """Kills the process group; returns the stage in which it was killed, or an empty string if it was too late."""
        started, deadline = 0.0, time.monotonic() + ATTEMPT_TIMEOUT
        while process.poll() is None and time.monotonic() < deadline:
            log = COLOR_CODES.sub("", self._raw_log()[read:])
            stages = TASK_STARTED.findall(log)
            if moment and moment.stage in stages and moment.words in log:
                started = started or time.monotonic()
                if time.monotonic() >= started + moment.seconds:
                    os.killpg(process.pid, signal.SIGKILL)
                    return str(stages[-1])
            time.sleep(POLL_INTERVAL)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        return ""

    def _raw_log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.out.glob("*/run.log") if not path.is_symlink())
