"""`radiograft models`: what it prints of a registry, what it changes there, and how it refuses."""

from __future__ import annotations

import io
import json
import re
import shutil
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
Models = Callable[..., Result]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with version 1 in production and version 2, which the gate refused."""
    place = tmp_path_factory.mktemp("template")
    publish_small(str(place), tmp_path_factory.mktemp("one"), 1)
    publish_small(str(place), tmp_path_factory.mktemp("two"), 2, promote=False, champion=1, reasons=["worse on Mass"])
    return place


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    """A copy of that registry, to be changed."""
    return shutil.copytree(template, tmp_path / "registry")


@pytest.fixture
def models(place: Path) -> Models:
    """`radiograft models` on the registry."""

    def run(command: str, *arguments: str) -> Result:
        return CliRunner().invoke(
            main, ["models", command, "--registry", str(place), *arguments], catch_exceptions=False
        )

    return run


def _refusal(result: Result) -> str:
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    return result.stderr.removeprefix("Error: ").strip()


def _in_production(place: Path) -> int:
    found = production.read_production(str(place), MODEL)
    assert found is not None
    return found.version


def test_list_tells_production_figures_gate_and_data(models: Models) -> None:
    head, first, second = models("list").stdout.splitlines()
    assert head.split() == ["version", "created", "(UTC)", "test", "AUROC", "(95", "%)", "patients", "gate", "data"]
    figures = r"\d{4}-\d\d-\d\d \d\d:\d\d  0\.800 \(0\.700-0\.850\)  30"
    assert re.match(rf"1 +production  {figures} +passed +4f4f4f4f4f4f$", first.strip())
    assert re.match(rf"2 +{figures} +refused +4f4f4f4f4f4f$", second.strip())


def test_show_prints_card_standing_and_files(models: Models) -> None:
    text = models("show", "1").stdout
    assert "Model details" in text
    assert "Research only. Not for diagnosis." in text
    assert "version 1, in production" in text
    assert "promoted by run run-1: the lower bound is above the floor" in text
    assert re.search(r"^assets\.extra/model\.keras +[\d,]+ +[0-9a-f]{64}", text, re.MULTILINE)
    assert "version 2, not in production" in models("show", "2").stdout


def test_verify_hashes_and_asks_again(models: Models) -> None:
    result = models("verify", "1")
    assert result.exit_code == 0
    hashed, asked = result.stdout.splitlines()
    assert re.match(r"version 1: \d+ files have the SHA-256 of the manifest$", hashed)
    assert re.match(r"version 1: its sample is answered as recorded, largest difference \d\.\de", asked)


def test_verify_finds_a_changed_file(models: Models, place: Path) -> None:
    changed = place / MODEL / "1" / "variables" / "variables.index"
    changed.write_bytes(changed.read_bytes() + b"x")
    assert _refusal(models("verify", "1")).startswith(f"{changed} must have SHA-256 ")


def test_verify_finds_a_model_that_answers_otherwise(models: Models, place: Path) -> None:
    """As after a mistake of the publisher: every hash is right, but the weights are another version's."""
    one, two = (place / MODEL / number for number in "12")
    manifest = json.loads((one / "manifest.json").read_text())
    for name, check in json.loads((two / "manifest.json").read_text())["files"].items():
        if name.startswith(("saved_model", "variables/", "fingerprint")):
            shutil.copyfile(two / name, one / name)
            manifest["files"][name] = check
    del manifest["sha256"]
    (one / "manifest.json").write_bytes(registry.with_own_digest(manifest))
    assert "the sample's probabilities must be within 0.001 of the recorded ones" in _refusal(models("verify", "1"))


def test_promote_and_rollback_move_production(models: Models, place: Path) -> None:
    assert models("promote", "2", "--reason", "a reader study").stdout == (
        "version 2 is in production, version 1 was before\n"
    )
    assert _in_production(place) == 2
    assert models("promote", "2").stdout == "version 2 is in production already\n"
    assert models("rollback").stdout == "version 1 is in production again, version 2 was before\n"
    assert _in_production(place) == 1
    shown = models("show", "2").stdout
    assert "promoted: a reader study" in shown
    assert _refusal(models("rollback")) == f"{MODEL} has no earlier production version to go back to"


def test_no_command_to_the_terminal_is_printed(models: Models) -> None:
    assert models("promote", "2", "--reason", "seen\x1b[2J by \x9b6n").exit_code == 0
    shown = models("show", "2").stdout
    assert "promoted: seen\ufffd[2J by \ufffd6n\n" in shown
    assert not set(shown) & {"\x1b", "\x9b"}
    refused = models("list", "--model", "\x1b[2J")
    assert _refusal(refused).startswith("\ufffd[2J has no versions yet in ")


def test_diff_shows_what_differs_and_all_figures(models: Models) -> None:
    rows = [re.split(r" {2,}", line.strip()) for line in models("diff", "1", "2").stdout.splitlines()]
    assert rows[0] == ["version 1", "version 2"]
    differing = {row[0]: row[1:] for row in rows[1:]}
    assert differing["setting train_seed"] == ["1", "2"]
    assert differing["parent"] == ["-", "1"]
    assert differing["gate"] == ["passed: the lower bound is above the floor", "refused: worse on Mass"]
    assert differing["test: mean AUROC"] == ["0.800 (0.700-0.850)"] * 2
    measures = {"AUROC", "AP", "accuracy", "sensitivity", "specificity", "PPV", "NPV", "F1", "Brier score"}
    for group in ("mean", "Pneumonia"):
        start = f"test: {group} "
        assert {name.removeprefix(start) for name in differing if name.startswith(start)} == measures
    assert differing["validation: Pneumonia PPV"] == ["0.530 (0.430-0.580)"] * 2
    assert differing["test: Pneumonia Brier score"] == ["0.180 (0.080-0.230)"] * 2
    assert not {"setting image_size", "data fingerprint", "code version"} & set(differing)


@pytest.mark.parametrize("command", [("show", "9"), ("verify", "9"), ("promote", "9"), ("diff", "1", "9")])
def test_an_unknown_version_is_refused_with_those_there_are(
    models: Models, place: Path, command: tuple[str, ...]
) -> None:
    assert _refusal(models(*command)) == f"{MODEL} has no version 9 in {place}; existing versions: 1, 2"
    assert _in_production(place) == 1


def test_an_unknown_version_is_not_asked(models: Models, tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(encode(noise(40)))
    assert "has no version 9" in _refusal(models("predict", "9", str(tmp_path / "film.png")))


def test_an_empty_registry_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["models", "list", "--registry", str(tmp_path / "nowhere")])
    assert _refusal(result) == f"{MODEL} has no versions yet in {tmp_path}/nowhere; --model names another model"


def test_without_runs_there_is_no_embedded_registry(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["models", "list", "--out", str(tmp_path / "runs")])
    assert _refusal(result).startswith(f"{tmp_path}/runs holds no store of runs; ")
    assert not (tmp_path / "runs").exists()


def test_the_registry_of_the_runs_is_the_default(template: Path, tmp_path: Path) -> None:
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


def test_predict_tells_probabilities_calls_and_where_it_looked(
    models: Models, films: list[Path], place: Path, tmp_path: Path
) -> None:
    result = models("predict", "1", *map(str, films), "--heat-maps", str(tmp_path / "maps"))
    assert result.exit_code == 0
    assert result.stdout.endswith("Research only. Not for diagnosis.\n")
    told = re.findall(r"Pneumonia +(\d\.\d{4}) +0\.0001 +present +(\S+\.png)", result.stdout)
    served = tf.saved_model.load(str(place / MODEL / "1"))
    for film, (probability, _) in zip(films[:2], told, strict=False):
        answer = served.signatures["serving_default"](image_bytes=tf.constant([film.read_bytes()]))
        assert float(probability) == pytest.approx(float(answer["probabilities"][0, 0]), abs=1e-4)
    assert len(re.findall(r"Mass +\d\.\d{4} +- +no threshold", result.stdout)) == 3
    maps = sorted((tmp_path / "maps").iterdir())
    assert [path.name for path in maps] == [
        "1-film-Pneumonia.png",
        "2-film-Pneumonia.png",
        "3-RG1_UNCR-Pneumonia.png",
    ]
    assert [path for _, path in told] == [str(path) for path in maps]
    for path in maps:
        assert Image.open(path).size == (SIZE, SIZE)


def test_16_bits_are_read_as_8(models: Models, tmp_path: Path) -> None:
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
        "text.png": (b"no image", kinds + "not a readable image"),
        "empty.png": (b"", kinds + "not a readable image"),
        "cut.png": (png.getvalue()[:300], kinds + "unreadable or truncated"),
        "cut.dcm": (b"\0" * 128 + b"DICM" + b"\0" * 9, kinds),
        "missing.png": (None, ""),
    }


@pytest.mark.parametrize("name", list(_unreadable()))
def test_an_unreadable_file_is_named_once(models: Models, tmp_path: Path, name: str) -> None:
    content, message = _unreadable()[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    told = _refusal(models("predict", "1", str(tmp_path / name), "--heat-maps", str(tmp_path / "maps")))
    expected = f"{tmp_path / name} {message}" if message else f"no such file: {tmp_path / name}"
    assert told.startswith(expected)
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "maps").exists()


def test_registry_is_only_read_by_reading_commands(models: Models, place: Path) -> None:
    before = {entry.name: storage.read_bytes(entry.uri) for entry in storage.list_files(str(place))}
    for command in (("list",), ("show", "1"), ("verify", "1"), ("diff", "1", "2")):
        models(*command)
    assert {entry.name: storage.read_bytes(entry.uri) for entry in storage.list_files(str(place))} == before
    assert registry.list_versions(str(place), MODEL) == [1, 2]
