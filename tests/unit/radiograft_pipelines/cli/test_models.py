"""`radiograft models`: tables, promotion, verification, prediction, and invalid input."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner, Result
from PIL import Image
from pydicom.data import get_testdata_file

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft_pipelines.cli.main import main
from radiograft_pipelines.local.object_store import embedded_store
from tests.helpers.images import encode, noise
from tests.helpers.small_versions import SIZE, publish_small

MODEL = "chest-radiograph"
UNRECORDED = (
    "Warning: this version records no sizes and gray values of its development images: files are not compared with "
    "them\n"
)
Models = Callable[..., Result]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with version 1 in production and version 2, which failed the gate."""
    folder = tmp_path_factory.mktemp("template")
    publish_small(str(folder), tmp_path_factory.mktemp("one"), 1)
    publish_small(str(folder), tmp_path_factory.mktemp("two"), 2, promote=False, champion=1, reasons=["worse on Mass"])
    return folder


@pytest.fixture
def registry_folder(template: Path, tmp_path: Path) -> Path:
    """A copy of the registry that a test may change."""
    return shutil.copytree(template, tmp_path / "registry")


@pytest.fixture
def models(registry_folder: Path) -> Models:
    """Runs `radiograft models` on the registry."""

    def run(command: str, *arguments: str) -> Result:
        options = ["--registry", str(registry_folder)]
        return CliRunner().invoke(main, ["models", command, *options, *arguments], catch_exceptions=False)

    return run


def _error(result: Result) -> str:
    """Returns the error message of a command that must fail without a traceback."""
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    return result.stderr.removeprefix(UNRECORDED).removeprefix("Error: ").strip()


def _production_version(folder: Path) -> int:
    current = production.read_production(str(folder), MODEL)
    assert current is not None
    return current.version


def test_list_prints_production_auroc_gate_and_fingerprint(models: Models) -> None:
    head, first, second = models("list").stdout.splitlines()
    assert " ".join(head.split()) == "version created (UTC) test AUROC (95%) patients gate data registered"
    columns = r"\d{4}-\d\d-\d\d \d\d:\d\d  0\.800 \(0\.700-0\.850\)  30"
    assert re.match(rf"1 +production  {columns} +passed +4f4f4f4f4f4f$", first.strip())
    assert re.match(rf"2 +{columns} +failed +4f4f4f4f4f4f$", second.strip())


def test_show_prints_card_status_and_files(models: Models) -> None:
    text = models("show", "1").stdout
    assert "Model details" in text
    assert "Research only. Not for diagnosis." in text
    assert "version 1, in production" in text
    assert "promoted by run run-1: the lower bound is above the floor" in text
    assert re.search(r"^assets\.extra/model\.keras +[\d,]+ +[0-9a-f]{64}", text, re.MULTILINE)
    assert "version 2, not in production" in models("show", "2").stdout


def test_verify_intact_version_passes(models: Models) -> None:
    result = models("verify", "1")
    assert result.exit_code == 0
    checksums, predictions = result.stdout.splitlines()
    assert re.match(r"version 1: \d+ files match their SHA-256$", checksums)
    assert re.match(r"version 1: sample predictions match, largest difference \d\.\de", predictions)


def test_verify_changed_file_fails(models: Models, registry_folder: Path) -> None:
    changed = registry_folder / MODEL / "1" / "variables" / "variables.index"
    changed.write_bytes(changed.read_bytes() + b"x")
    assert _error(models("verify", "1")).startswith(f"{changed} must have SHA-256 ")


def test_verify_weights_of_another_version_fails(models: Models, registry_folder: Path) -> None:
    """Simulates a faulty publisher: all checksums are correct, but the weights belong to another version."""
    one, two = (registry_folder / MODEL / number for number in "12")
    manifest = json.loads((one / "manifest.json").read_text())
    for name, check in json.loads((two / "manifest.json").read_text())["files"].items():
        if name.startswith(("saved_model", "variables/", "fingerprint")):
            shutil.copyfile(two / name, one / name)
            manifest["files"][name] = check
    del manifest["sha256"]
    (one / "manifest.json").write_bytes(registry.with_own_digest(manifest))
    assert "the sample's probabilities must be within 0.001 of the recorded ones" in _error(models("verify", "1"))


def test_promote_and_rollback_change_production(models: Models, registry_folder: Path) -> None:
    assert models("promote", "2", "--reason", "a reader study").stdout == (
        "version 2 is now in production, replacing version 1\n"
    )
    assert _production_version(registry_folder) == 2
    assert models("promote", "2").stdout == "version 2 is already in production\n"
    assert models("rollback").stdout == "version 1 is in production again, replacing version 2\n"
    assert _production_version(registry_folder) == 1
    shown = models("show", "2").stdout
    assert "promoted: a reader study" in shown
    assert _error(models("rollback")) == f"{MODEL} has no earlier production version to go back to"


def test_output_escapes_control_characters(models: Models) -> None:
    assert models("promote", "2", "--reason", "seen\x1b[2J by \x9b6n").exit_code == 0
    shown = models("show", "2").stdout
    assert "promoted: seen\ufffd[2J by \ufffd6n\n" in shown
    assert not set(shown) & {"\x1b", "\x9b"}
    failed = models("list", "--model", "\x1b[2J")
    assert _error(failed).startswith("\ufffd[2J has no versions in ")


def test_diff_prints_differences_and_all_metrics(models: Models) -> None:
    rows = [re.split(r" {2,}", line.strip()) for line in models("diff", "1", "2").stdout.splitlines()]
    assert rows[0] == ["version 1", "version 2"]
    differing = {row[0]: row[1:] for row in rows[1:]}
    assert differing["setting train_seed"] == ["1", "2"]
    assert differing["parent"] == ["-", "1"]
    assert differing["gate"] == ["passed: the lower bound is above the floor", "failed: worse on Mass"]
    assert differing["test: mean AUROC"] == ["0.800 (0.700-0.850)"] * 2
    metrics = {"AUROC", "AP", "accuracy", "sensitivity", "specificity", "PPV", "NPV", "F1", "Brier score"}
    for group in ("mean", "Pneumonia"):
        start = f"test: {group} "
        assert {name.removeprefix(start) for name in differing if name.startswith(start)} == metrics
    assert differing["validation: Pneumonia PPV"] == ["0.530 (0.430-0.580)"] * 2
    assert differing["test: Pneumonia Brier score"] == ["0.180 (0.080-0.230)"] * 2
    assert not {"setting image_size", "data fingerprint", "code version"} & set(differing)


@pytest.mark.parametrize("command", [("show", "9"), ("verify", "9"), ("promote", "9"), ("diff", "1", "9")])
def test_unknown_version_fails_with_known_versions(
    models: Models, registry_folder: Path, command: tuple[str, ...]
) -> None:
    assert _error(models(*command)) == f"{MODEL} has no version 9 in {registry_folder}; existing versions: 1, 2"
    assert _production_version(registry_folder) == 1


def test_predict_unknown_version_fails(models: Models, tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(encode(noise(40)))
    assert "has no version 9" in _error(models("predict", "9", str(tmp_path / "film.png")))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("age", "--patient-data must be NAME=VALUE,... with each name once, got 'age'"),
        ("age=3", "patient data must be empty for this model, which has none, got 'age'"),
    ],
)
def test_predict_invalid_patient_data_fails(models: Models, tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "film.png").write_bytes(encode(noise(40)))
    assert message in _error(models("predict", "1", str(tmp_path / "film.png"), "--patient-data", given))


def test_list_empty_registry_fails(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["models", "list", "--registry", str(tmp_path / "nowhere")])
    assert _error(result) == f"{MODEL} has no versions in {tmp_path}/nowhere; choose another model with --model"


def test_list_without_embedded_store_fails(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["models", "list", "--out", str(tmp_path / "runs")])
    assert _error(result).startswith(f"{tmp_path}/runs has no embedded object store; ")
    assert not (tmp_path / "runs").exists()


def test_list_default_registry_is_embedded(template: Path, tmp_path: Path) -> None:
    with embedded_store(tmp_path / "runs" / "store"):
        storage.upload_tree(template, "gs://radiograft-embedded/registry")
    for command in (["promote", "2"], ["list"]):
        result = CliRunner().invoke(main, ["models", *command, "--out", str(tmp_path / "runs")], catch_exceptions=False)
        assert result.exit_code == 0
    assert "2        production" in result.stdout


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """A PNG, a JPEG and a real DICOM radiograph."""
    (tmp_path / "film.png").write_bytes(encode(noise(50)))
    (tmp_path / "film.jpg").write_bytes(encode(noise(50), "JPEG"))
    dicom = get_testdata_file("RG1_UNCR.dcm", download=False)
    assert isinstance(dicom, str), "pydicom-data must be installed"
    return [tmp_path / "film.png", tmp_path / "film.jpg", Path(dicom)]


def test_predict_prints_probabilities_and_writes_heat_maps(
    models: Models, films: list[Path], registry_folder: Path, tmp_path: Path
) -> None:
    result = models("predict", "1", *map(str, films), "--heat-maps", str(tmp_path / "maps"))
    assert result.exit_code == 0
    assert result.stdout.endswith("Research only. Not for diagnosis.\n")
    printed = re.findall(r"Pneumonia +(\d\.\d{4}) +0\.0001 +present +(\S+\.png)", result.stdout)
    served = tf.saved_model.load(str(registry_folder / MODEL / "1"))
    for film, (probability, _) in zip(films[:2], printed, strict=False):
        answer = served.signatures["serving_default"](image_bytes=tf.constant([film.read_bytes()]))
        assert float(probability) == pytest.approx(float(answer["probabilities"][0, 0]), abs=1e-4)
    assert len(re.findall(r"Mass +\d\.\d{4} +- +no threshold", result.stdout)) == 3
    maps = sorted((tmp_path / "maps").iterdir())
    assert [path.name for path in maps] == [
        "1-film-Pneumonia.png",
        "2-film-Pneumonia.png",
        "3-RG1_UNCR-Pneumonia.png",
    ]
    assert [path for _, path in printed] == [str(path) for path in maps]
    for path in maps:
        assert Image.open(path).size == (SIZE, SIZE)


def test_predict_notes_color_on_stderr_and_in_json(models: Models, tmp_path: Path) -> None:
    """Fails if a photograph is called without a note, or a note changes the exit code."""
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    (tmp_path / "red.png").write_bytes(encode(red))
    (tmp_path / "gray.png").write_bytes(encode(noise(64)))
    options = ["--heat-maps", str(tmp_path / "maps"), "--json", str(tmp_path / "out.json")]
    result = models("predict", "1", str(tmp_path / "red.png"), str(tmp_path / "gray.png"), *options)
    assert result.exit_code == 0
    assert result.stderr == f"{UNRECORDED}{tmp_path}/red.png: in color; development images are gray\n"
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["model"], written["version"], len(written["warnings"])) == (MODEL, 1, 1)
    assert [image["notes"] for image in written["images"]] == [["in color; development images are gray"], []]
    (pneumonia, mass) = written["images"][0]["predictions"]
    assert (pneumonia["label"], pneumonia["threshold"], pneumonia["positive"]) == ("Pneumonia", 0.0001, True)
    assert pneumonia["heat_map"] == f"{tmp_path}/maps/1-red-Pneumonia.png"
    assert (mass["threshold"], mass["positive"], mass["heat_map"]) == (None, None, None)


def test_predict_16_bit_image_equals_8_bit(models: Models, tmp_path: Path) -> None:
    (tmp_path / "8.png").write_bytes(encode(noise(50)))
    (tmp_path / "16.png").write_bytes(encode(noise(50).astype(np.uint16) * 257))
    result = models("predict", "1", str(tmp_path / "8.png"), str(tmp_path / "16.png"), "--heat-maps", str(tmp_path))
    first, second = re.findall(r"Pneumonia +(\d\.\d{4})", result.stdout)
    assert first == second


def _unreadable() -> dict[str, tuple[bytes | None, str]]:
    png = io.BytesIO()
    Image.fromarray(noise(50)).save(png, "PNG")
    kinds = "must be a PNG, JPEG or DICOM radiograph: "
    return {
        "text.png": (b"no image", kinds + "text instead of an image: download the file again"),
        "empty.png": (b"", kinds + "unreadable or truncated image"),
        "pointer.png": (b"version https://git-lfs.github.com/spec/v1", kinds + "Git LFS pointer instead of an image"),
        "cut.png": (png.getvalue()[:300], kinds + "unreadable or truncated"),
        "cut.dcm": (b"\0" * 128 + b"DICM" + b"\0" * 9, kinds),
        "missing.png": (None, ""),
    }


@pytest.mark.parametrize("name", list(_unreadable()))
def test_predict_unreadable_file_fails(models: Models, tmp_path: Path, name: str) -> None:
    content, message = _unreadable()[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    error = _error(models("predict", "1", str(tmp_path / name), "--heat-maps", str(tmp_path / "maps")))
    expected = f"{tmp_path / name} {message}" if message else f"no such file: {tmp_path / name}"
    assert error.startswith(expected)
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "maps").exists()


def test_predict_prints_no_tensorflow_messages(registry_folder: Path, films: list[Path], tmp_path: Path) -> None:
    """Runs in a process of its own, because TensorFlow prints its startup messages when it is first imported."""
    command = [sys.executable, "-m", "radiograft_pipelines.cli.main", "models", "predict", "1", str(films[0])]
    options = ["--registry", str(registry_folder), "--heat-maps", str(tmp_path / "maps")]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, UNRECORDED)
    assert done.stdout.endswith("Research only. Not for diagnosis.\n")


def test_reading_commands_do_not_change_registry(models: Models, registry_folder: Path) -> None:
    before = {entry.name: storage.read_bytes(entry.uri) for entry in storage.list_files(str(registry_folder))}
    for command in (("list",), ("show", "1"), ("verify", "1"), ("diff", "1", "2")):
        models(*command)
    assert {entry.name: storage.read_bytes(entry.uri) for entry in storage.list_files(str(registry_folder))} == before
    assert registry.list_versions(str(registry_folder), MODEL) == [1, 2]
