"""The whole pipeline in real processes, killed with SIGKILL at random moments and resumed until it ends."""

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

from radiograft_pipelines.local.progress import COLOR_CODES, STARTED
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
LOOK_EVERY = 0.02  # seconds between two looks at the log
LONGEST = 900.0  # seconds that an attempt may take


class Moment(NamedTuple):
    """When a run is to be killed: so many seconds after a stage began and the log had these words."""

    stage: str
    seconds: float = 0.0
    words: str = ""


def moments(count: int, seconds: dict[str, float], seed: int) -> Iterator[Moment]:
    """A moment in each stage in random order, again and again, each anywhere in its stage.

    Args:
        seconds: what each stage takes by its name, as summary.json tells.
    """
    drawn = random.Random(seed)
    rounds = (drawn.sample(sorted(seconds), len(seconds)) for _ in itertools.count())
    for stage in itertools.islice(itertools.chain.from_iterable(rounds), count):
        yield Moment(stage.replace("_", "-"), drawn.random() * seconds[stage])


class KilledRun:
    """One run below a folder of its own: started by the first attempt, resumed by every other."""

    def __init__(self, out: Path, **environment: str) -> None:
        self.out, self.environment = out, os.environ | environment
        out.mkdir(parents=True, exist_ok=True)
        (out / "settings.yaml").write_text(SETTINGS)

    def attempt(self, moment: Moment | None = None) -> str:
        """Starts or resumes the run; returns the stage in which it was killed, empty where it came to its end.

        Raises:
            RuntimeError: it ended otherwise; the message is what it said.
        """
        read = len(self._log())
        with (self.out / "said.txt").open("wb") as said:
            process = subprocess.Popen(
                self._command(),
                cwd=ROOT,
                env=self.environment,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            killed = self._kill_at(moment, process, read)
        if process.wait() == 0:
            return ""
        if process.returncode != -signal.SIGKILL or not killed:
            raise RuntimeError((self.out / "said.txt").read_text(errors="replace"))
        return killed

    def failure(self) -> str | None:
        """Starts or resumes the run; returns what it said if it failed."""
        try:
            self.attempt()
        except RuntimeError as error:
            return str(error)
        return None

    def stages(self) -> list[str]:
        """The stages that the attempts began."""
        return STARTED.findall(self.said())

    def summary(self) -> dict[str, Any]:
        """What the run that came to its end says of itself."""
        return dict(json.loads((self.out / "latest" / "summary.json").read_text()))

    def said(self) -> str:
        """The log of all attempts."""
        return COLOR_CODES.sub("", self._log())

    def _command(self) -> list[str]:
        begun = [path.parent.name for path in self.out.glob("*/run.json") if not path.parent.is_symlink()]
        what = ["resume", *begun] if begun else ["run", "--settings", str(self.out / "settings.yaml")]
        return [sys.executable, "-m", "radiograft_pipelines.cli.main", *what, "--out", str(self.out)]

    def _kill_at(self, moment: Moment | None, process: subprocess.Popen[bytes], read: int) -> str:
        """Kills the process and all that it started; returns the stage in which that was, empty if it was too late."""
        begun, deadline = 0.0, time.monotonic() + LONGEST
        while process.poll() is None and time.monotonic() < deadline:
            said = COLOR_CODES.sub("", self._log()[read:])
            stages = STARTED.findall(said)
            if moment and moment.stage in stages and moment.words in said:
                begun = begun or time.monotonic()
                if time.monotonic() >= begun + moment.seconds:
                    os.killpg(process.pid, signal.SIGKILL)
                    return str(stages[-1])
            time.sleep(LOOK_EVERY)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        return ""

    def _log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.out.glob("*/run.log") if not path.is_symlink())
