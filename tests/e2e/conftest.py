"""Runs of the installed console script, small enough for two CPU cores and shared by the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.runs import SECRETS, Run, TwoRuns, read_version

# With these learning rates a few epochs on 58 images raise the validation AUROC.
SMALL = """\
data_format: phantom
data_source: gs://radiograft-embedded/phantom
data_phantom_patients: 60
data_validation_fraction: 0.25
evaluate_bootstrap_samples: 100
evaluate_min_patients: 1
image_size: 64
model_backbone: efficientnet_lite0
model_cut_off: block7a_expand_conv
model_dense_units: 64
model_dropout: 0.0
publish_registry: gs://radiograft-embedded/registry
train_batch_size: 16
train_feature_epochs: 2
train_feature_learning_rate: 0.0003
train_fine_tune_epochs: 1
train_fine_tune_learning_rate: 0.0003
"""


Radiograft = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def radiograft() -> Radiograft:
    """Calls `radiograft run` with the folder of the runs, settings and assignments."""
    script = shutil.which("radiograft", path=str(Path(sys.executable).parent))
    assert script, "radiograft must be installed beside the interpreter: pip install --editable ."

    def run(
        out: Path, settings: Path | str, *assignments: str, pipeline: str = "transfer_learning"
    ) -> subprocess.CompletedProcess[str]:
        options = [part for assignment in assignments for part in ("--set", assignment)]
        command = [script, "run", "--out", str(out), "--settings", str(settings), "--pipeline", pipeline, *options]
        environment = os.environ | SECRETS
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    return run


@pytest.fixture(scope="session")
def finish(radiograft: Radiograft) -> Callable[..., Run]:
    """Calls `radiograft run`, which must succeed."""

    def run(out: Path, settings: Path | str, *assignments: str, pipeline: str = "transfer_learning") -> Run:
        done = radiograft(out, settings, *assignments, pipeline=pipeline)
        assert done.returncode == 0, done.stdout + done.stderr
        return Run(done.stdout, json.loads((out / "latest" / "summary.json").read_text()))

    return run


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A settings file for a small dataset of synthetic chest X-rays."""
    path = tmp_path_factory.mktemp("settings") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="session")
def two_runs(small: Path, finish: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> TwoRuns:
    """Two runs with the same settings into one folder."""
    out = tmp_path_factory.mktemp("out") / "runs"
    first = finish(out, small)
    version = read_version(out, 1)
    return TwoRuns(out, first, finish(out, small), version)
