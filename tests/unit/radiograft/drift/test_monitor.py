"""The command `radiograft drift`, which compares new images with a published version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from radiograft.drift.monitor import missing_input_notes
from radiograft.drift.reference import REFERENCE, ReferenceSample
from radiograft.models.covariates import Covariate
from radiograft.models.spec import ModelSpec
from radiograft_pipelines.cli.main import main
from tests.helpers.stages import Evaluated


def drift(registry: Path, source: Path | str, report: Path, *options: str, number: int = 1) -> Result:
    arguments = ["--source", str(source), "--version", str(number), "--registry", str(registry), "--model", "chest"]
    return CliRunner().invoke(main, ["drift", *arguments, "--report", str(report), *options])


def test_drift_same_hospital_detects_no_shift(registry: Path, same_hospital: Path, tmp_path: Path) -> None:
    result = drift(registry, same_hospital, tmp_path / "drift.html")
    assert result.exit_code == 0, result.output
    assert "no shift detected" in result.output
    assert "shifted:" not in result.output
    assert "Not for diagnosis" in result.output
    figures = json.loads((tmp_path / "drift.json").read_text())
    assert (figures["model"], figures["version"], figures["source"]) == ("chest", 1, str(same_hospital))
    assert (figures["outcome"], figures["drift"]["shifted"]) == ("no shift detected", [])
    tests = figures["drift"]["tests"]
    assert {test["verdict"] for test in tests.values()} == {"no shift detected"}
    assert tests["score"]["reference"] == {"pictures": 39, "patients": 15}  # validation
    assert tests["view"]["reference"] == {"pictures": 97, "patients": 45}  # training too
    assert tests["score"]["new"]["patients"] == 40


def test_drift_other_hospital_detects_shift(registry: Path, other_hospital: Path, tmp_path: Path) -> None:
    result = drift(registry, other_hospital, tmp_path / "deep" / "drift.html")
    assert result.exit_code == 3, result.output
    figures = json.loads((tmp_path / "deep" / "drift.json").read_text())
    assert "embedding" in figures["drift"]["shifted"]
    assert not {"view", "age", "sex"} & set(figures["drift"]["shifted"])
    assert "shifted: " in result.output
    (unreadable,) = figures["notes"]
    assert unreadable.startswith("1 of ")
    assert unreadable in result.output
    page = (tmp_path / "deep" / "drift.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "chest version 1" in page
    assert "<strong>shifted</strong>" in page
    assert page.count('<img src="data:image/svg+xml;base64,') == 5
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_drift_medmnist_without_metadata_compares_images(registry: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = generator.integers(0, 256, (10, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(10, dtype=np.uint8)[:, None] % 3
    np.savez(tmp_path / "new.npz", allow_pickle=False, **arrays)
    result = drift(registry, tmp_path / "new.npz", tmp_path / "drift.html", "--format", "medmnist")
    assert result.exit_code == 3, result.output
    figures = json.loads((tmp_path / "drift.json").read_text())
    tests = figures["drift"]["tests"]
    assert [tests[name]["verdict"] for name in ("view", "age", "sex")] == ["not recorded"] * 3
    assert tests["embedding"]["new"] == {"pictures": 30, "patients": 30}
    assert any("no patient ids" in note for note in figures["notes"])


@pytest.mark.parametrize(
    ("lateral", "covariates", "note"),
    [
        (False, (), ""),
        (False, ("age", "sex"), "Scores and features are of the frontal image alone, without age, sex."),
        (
            True,
            ("age", "pH"),
            (
                "Scores and features are of the frontal image alone, without lateral image, age, pH. A shift of "
                "lateral image, pH is not tested."
            ),
        ),
    ],
)
def test_missing_input_notes_name_what_is_not_compared(lateral: bool, covariates: tuple[str, ...], note: str) -> None:
    spec = ModelSpec(
        32, ("Mass",), "densenet121", "none", "", "fine_tuning", lateral=lateral,
        covariates=tuple(Covariate(name) for name in covariates),
    )  # fmt: skip
    assert missing_input_notes(spec) == [note] * bool(note)


def test_drift_unlabeled_images_are_compared(registry: Path, same_hospital: Path, tmp_path: Path) -> None:
    """Fails if a folder of unlabeled images is rejected, or if an empty folder is accepted."""
    (tmp_path / "flat").mkdir()
    for path in same_hospital.rglob("*.png"):
        shutil.copy(path, tmp_path / "flat")
    result = drift(registry, tmp_path / "flat", tmp_path / "drift.html", "--format", "folders")
    assert result.exit_code == 0, result.output
    tests = json.loads((tmp_path / "drift.json").read_text())["drift"]["tests"]
    assert [tests[name]["verdict"] for name in ("score", "embedding", "view")] == [
        *("no shift detected", "no shift detected"),
        "not recorded",
    ]
    (tmp_path / "empty").mkdir()
    result = drift(registry, tmp_path / "empty", tmp_path / "none.html", "--format", "folders")
    assert result.exit_code == 1
    assert "Error: the source must contain readable images, got 0 images" in result.output


def test_drift_five_images_exits_4_and_says_nothing_was_compared(
    registry: Path, same_hospital: Path, tmp_path: Path
) -> None:
    """Row 38: `no shift detected` with exit code 0 would be a false all-clear."""
    (tmp_path / "five").mkdir()
    for path in sorted(same_hospital.rglob("*.png"))[:5]:
        shutil.copy(path, tmp_path / "five")
    result = drift(registry, tmp_path / "five", tmp_path / "drift.html", "--format", "folders")
    assert result.exit_code == 4, result.output
    assert "nothing could be compared\nnot compared: prediction scores, embedding (fewer than 10" in result.output
    assert "no shift" not in result.output
    figures = json.loads((tmp_path / "drift.json").read_text())
    assert figures["outcome"] == "nothing could be compared"
    page = (tmp_path / "drift.html").read_text()
    assert "Nothing could be compared" in page
    assert "No shift" not in page


def test_drift_help_documents_exit_codes() -> None:
    text = " ".join(CliRunner().invoke(main, ["drift", "--help"]).output.split())
    assert "Exit code 4: nothing could be compared" in text


def test_drift_table_option_maps_columns(registry: Path, same_hospital: Path, tmp_path: Path) -> None:
    """Fails if --table does not reach the reader, which would then find neither images nor patients."""
    images = sorted(same_hospital.rglob("*.png"))
    for path in images:
        shutil.copy(path, tmp_path)
    lines = [f"{path.name},{path.name[:8]}" for path in images]
    (tmp_path / "new.csv").write_text("\n".join(["File,Person", *lines]))
    options = ("--format", "table", "--table", "image=File,patient=Person")
    result = drift(registry, tmp_path / "new.csv", tmp_path / "drift.html", *options)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "drift.json").read_text())
    assert figures["drift"]["tests"]["score"]["new"] == {"pictures": len(images), "patients": 40}


@pytest.mark.parametrize(
    ("source", "number", "message"),
    [
        ("/nowhere", 1, "Error: no such folder: /nowhere\n"),
        ("/nowhere", 9, "Error: chest has no version 9 in "),
    ],
)
def test_drift_missing_source_or_version_fails_in_one_line(
    registry: Path, tmp_path: Path, source: str, number: int, message: str
) -> None:
    result = drift(registry, source, tmp_path / "drift.html", number=number)
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_drift_no_readable_image_fails(registry: Path, same_hospital: Path, tmp_path: Path) -> None:
    corrupt = Path(shutil.copytree(same_hospital, tmp_path / "corrupt"))
    for path in corrupt.rglob("*.png"):
        path.write_bytes(b"no image")
    result = drift(registry, corrupt, tmp_path / "drift.html")
    assert result.exit_code == 1
    assert "Error: the source must contain readable images, got " in result.output


def test_drift_modified_reference_fails(registry: Path, same_hospital: Path, tmp_path: Path) -> None:
    modified = Path(shutil.copytree(registry, tmp_path / "modified"))
    with (modified / "chest" / "1" / "assets.extra" / REFERENCE).open("ab") as file:
        file.write(b"!")
    result = drift(modified, same_hospital, tmp_path / "drift.html")
    assert result.exit_code == 1
    assert "must have SHA-256" in result.output


def test_version_contains_reference_of_evaluation(registry: Path, evaluation: Evaluated) -> None:
    published = (registry / "chest" / "1" / "assets.extra" / REFERENCE).read_bytes()
    assert published == (evaluation.folder / REFERENCE).read_bytes()
    sample = ReferenceSample.read(published)
    assert sample.labels.tolist() == ["Pneumonia", "Effusion", "Emphysema"]
    assert len(sample.patients) == 58 + 39
    assert int(np.isfinite(sample.scores).all(axis=1).sum()) == 39
    assert sample.features.shape == (97, 1280)


def test_drift_json_report_path_fails(registry: Path, tmp_path: Path) -> None:
    """Fails if --report may end in .json: the figures would overwrite the page."""
    result = drift(registry, tmp_path / "nowhere", tmp_path / "x.json")
    assert result.exit_code == 2
    assert f"--report must not end in .json, where the results are written, got {tmp_path}/x.json" in result.output
