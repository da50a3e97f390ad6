"""The README's commands and Python lines run as they stand, on a smaller data set than the demo's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from radiograft.data.synthetic.dataset import generate_phantom_files
from tests.docs.markdown import blocks, radiograft_commands
from tests.repository import ROOT

pytestmark = pytest.mark.slow

README = ROOT / "README.md"
OWN_DATA = "/data/chest_xray"
# The demo with fewer patients, pixels and epochs: the same stages in a quarter of the time.
SMALLER = [
    "data_phantom_patients=60", "evaluate_bootstrap_samples=100", "evaluate_min_patients=1", "image_size=64",
    "model_random_baseline=false", "train_feature_epochs=1", "train_fine_tune_epochs=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a radiograph, in which the README's first command ran."""
    folder = tmp_path_factory.mktemp("reader")
    image = next(content for name, content in generate_phantom_files(1, seed=1, size=96) if name.endswith(".png"))
    (folder / "film.png").write_bytes(image)
    first = radiograft_commands(README)[0]
    assert first == ["run", "--settings", "demo"]
    _radiograft(folder, *first, *(part for value in SMALLER for part in ("--set", value)))
    return folder


def _radiograft(folder: Path, *arguments: str) -> str:
    return _python(folder, "-m", "radiograft_pipelines.cli.main", *arguments)


def _python(folder: Path, *arguments: str) -> str:
    """Runs this interpreter in a folder and returns what it prints."""
    paths = os.pathsep.join(str(ROOT / name) for name in ("components", "pipelines"))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_readme_commands_run(folder: Path) -> None:
    rest = [command for command in radiograft_commands(README)[1:] if not any(OWN_DATA in word for word in command)]
    assert [command[:2] for command in rest if command[0] == "models"] == [["models", "list"], ["models", "predict"]]
    listing, prediction = (_radiograft(folder, *command) for command in rest if command[0] == "models")
    assert "Pneumonia" in prediction
    assert prediction.endswith("Research only. Not for diagnosis.\n")
    assert listing.splitlines()[1].startswith("1")


def test_readme_python_lines_run(folder: Path) -> None:
    (code,) = blocks(README, "python")
    check = "\nimport pandas\nassert isinstance(predictions, pandas.DataFrame)\npredictions.to_csv('predictions.csv')\n"
    _python(folder, "-c", code + check)
    predictions = pd.read_csv(folder / "predictions.csv")
    assert len(predictions) == 1  # one file, one label
    assert predictions["probability"].between(0, 1).all()
