"""The command line: `run`, `settings`, help texts, and invalid input."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from radiograft.backbones import list_backbones
from radiograft.config import all_settings
from radiograft_pipelines.cli.main import main


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _radiograft(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def _run_error(working_folder: Path, *arguments: str) -> str:
    """Returns the error message of `radiograft run`, which must leave no files."""
    before = sorted(working_folder.iterdir())
    result = _radiograft("run", *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert sorted(working_folder.iterdir()) == before
    return result.stderr.removeprefix("Error: ").strip()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("imge_size=64", "unknown setting 'imge_size'; did you mean 'image_size'"),
        ("bakbone=densenet121", "unknown setting 'bakbone'; did you mean 'backbone'"),
        ("fine_tune=1", "unknown setting 'fine_tune'; did you mean 'fine_tune_epochs'"),
        ("qqqq=1", "unknown setting 'qqqq'"),
        ("image_size", "an override must be name=value, got 'image_size'"),
        (
            "backbone=vgg1",
            f"model_backbone must be one of {', '.join(list_backbones())}, got 'vgg1'; did you mean 'vgg16'?",
        ),
        ("image_size=large", "image_size must be of type int, got 'large'"),
        ("image_size=64.5", "image_size must be of type int, got '64.5'"),
        ("image_size=250", "image_size must be a multiple of 16, got 250"),
        ("image_size=16", "image_size must be at least 32 pixels, got 16"),
        ("random_baseline=maybe", "model_random_baseline must be of type bool, got 'maybe'"),
        ("dropout=nan", "model_dropout must be a finite number, got nan"),
        ("labels=Mass,Mass", "data_labels must name each finding once, got 'Mass,Mass'"),
        ("min_auroc=Mas=0.7", "gate_min_auroc must name labels from Pneumonia, got 'Mas'"),
        ("noninferiority_margin=0.6", "gate_noninferiority_margin must be at most 0.5, got 0.6"),
        ("image_augmentation=rotation=9", "image_augmentation has no 'rotation'; did you mean 'rotation_range'"),
        (
            "source=",
            (
                "data_source must be given (Folder, gs:// or s3:// prefix of the dataset; for medmnist and table, the "
                "file itself; for dicom also dicomweb://HOST/PATH, a PACS.), got ''"
            ),
        ),
        (
            "model_name=../up",
            "publish_model_name must be 1 to 63 characters from A-Z a-z 0-9 _ - and start with a letter, got '../up'",
        ),
    ],
)
def test_run_invalid_assignment_fails(working_folder: Path, assignment: str, message: str) -> None:
    assert _run_error(working_folder, "--settings", "demo", "--set", assignment).startswith(message)


def test_run_chestxray14_preset_without_source_fails(working_folder: Path) -> None:
    assert _run_error(working_folder, "--settings", "chestxray14").startswith("data_source must be given")


def test_run_unknown_preset_suggests_similar(working_folder: Path) -> None:
    message = _run_error(working_folder, "--settings", "demoo")
    known = "blood_cells, chestxray14, chexnet, chexnet-pneumonia, covid_views, demo, ham10000, pneumoniamnist"
    assert message == f"settings must be a file or one of {known}, got 'demoo'; did you mean 'demo'?"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("imagesize: 64\n", "unknown setting 'imagesize'; did you mean 'image_size'"),
        ("- image_size\n", "mine.yaml must be a mapping of `name: value`, got list"),
        ("", "mine.yaml must be a mapping of `name: value`, got NoneType"),
        ("image_size: [64]\n", "image_size must be of type int, got [64] (list)"),
        ("image_size: 'sixty'\n", "image_size must be of type int, got 'sixty' (str)"),
        ("image_size: 64\n  labels: x\n", "mine.yaml must be YAML: "),
    ],
)
def test_run_invalid_settings_file_fails(working_folder: Path, content: str, message: str) -> None:
    (working_folder / "mine.yaml").write_text(content)
    arguments = ["--settings", "mine.yaml", "--set", "source=/data", "--set", "registry=registry"]
    assert _run_error(working_folder, *arguments).startswith(message)


def test_run_without_settings_is_usage_error(working_folder: Path) -> None:
    result = _radiograft("run")
    assert result.exit_code == 2
    assert "Missing option '--settings'" in result.stderr


def test_settings_lists_all_with_default_and_range() -> None:
    result = _radiograft("settings")
    head, line, *rows = result.stdout.splitlines()
    assert (result.exit_code, head, line) == (0, "| name | default | meaning |", "|---|---|---|")
    assert [re.match(r"\| `(\w+)` \|", row)[1] for row in rows] == list(all_settings())  # type: ignore[index]
    assert (
        "| `data_source` | required | Folder, gs:// or s3:// prefix of the dataset; for medmnist and table, the file "
        "itself; for dicom also dicomweb://HOST/PATH, a PACS. |" in rows
    )
    assert (
        "| `image_size` | `224` | Width and height of the images that the network sees. From 32 to 1024 pixels. |"
        in rows
    )


def test_help_lists_commands_and_disclaimer() -> None:
    text = _radiograft("--help").stdout
    assert "Research only, not for diagnosis." in " ".join(text.split())
    assert re.search(r"^  run +Runs a compiled pipeline on this machine", text, re.MULTILINE)
    assert re.search(r"^  resume +Resumes an interrupted run from its last finished epoch", text, re.MULTILINE)
    assert re.search(r"^  settings +Lists all settings", text, re.MULTILINE)


def test_run_help_lists_options() -> None:
    text = _radiograft("run", "--help").stdout
    assert re.search(r"--settings TEXT +YAML file, or a preset: demo,", text)
    assert "--set NAME=VALUE" in text
    names = "transfer_learning|retraining|cutoff_search|backbone_comparison|hyperparameter_search|super_resolution"
    assert f"--pipeline [{names}]" in "".join(text.split()).replace("--pipeline[", "--pipeline [")
    assert "[default: runs]" in text


def test_run_unknown_pipeline_lists_choices(working_folder: Path) -> None:
    result = _radiograft("run", "--settings", "demo", "--pipeline", "search")
    assert result.exit_code == 2
    names = (
        "'transfer_learning', 'retraining', 'cutoff_search', 'backbone_comparison', 'hyperparameter_search', "
        "'super_resolution'"
    )
    assert f"'search' is not one of {names}." in result.stderr


def test_console_script_is_installed() -> None:
    script = shutil.which("radiograft", path=str(Path(sys.executable).parent))
    assert script, "radiograft must be installed beside the interpreter: pip install --editable ."
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("radiograft, version 0.1.0")
