"""`radiograft drift`: new images against a published version, as a person or a script calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from radiograft.drift.reference import REFERENCE, ReferenceSample
from radiograft_pipelines.cli.main import main
from tests.helpers.stages import Evaluated


def drift(registry: Path, source: Path | str, report: Path, *options: str, number: int = 1) -> Result:
    arguments = ["--source", str(source), "--version", str(number), "--registry", str(registry), "--model", "chest"]
    return CliRunner().invoke(main, ["drift", *arguments, "--report", str(report), *options])


def test_more_of_the_same_shows_no_shift(registry: Path, more_of_the_same: Path, tmp_path: Path) -> None:
    done = drift(registry, more_of_the_same, tmp_path / "drift.html")
    assert done.exit_code == 0, done.output
    assert "no shift seen" in done.output
    assert "shifted:" not in done.output
    assert "Not for diagnosis" in done.output
    found = json.loads((tmp_path / "drift.json").read_text())
    assert (found["model"], found["version"], found["source"]) == ("chest", 1, str(more_of_the_same))
    assert found["drift"]["shifted"] == []
    tests = found["drift"]["tests"]
    assert {test["verdict"] for test in tests.values()} == {"no shift seen"}
    assert tests["score"]["reference"] == {"pictures": 39, "patients": 15}  # validation
    assert tests["view"]["reference"] == {"pictures": 97, "patients": 45}  # training too
    assert tests["score"]["new"]["patients"] == 40


def test_another_hospital_is_found_out(registry: Path, another_hospital: Path, tmp_path: Path) -> None:
    done = drift(registry, another_hospital, tmp_path / "deep" / "drift.html")
    assert done.exit_code == 3, done.output
    found = json.loads((tmp_path / "deep" / "drift.json").read_text())
    assert "embedding" in found["drift"]["shifted"]
    assert not {"view", "age", "sex"} & set(found["drift"]["shifted"])
    assert "shifted: " in done.output
    (unreadable,) = found["notes"]
    assert unreadable.startswith("1 of ")
    assert unreadable in done.output
    page = (tmp_path / "deep" / "drift.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "chest version 1" in page
    assert "<strong>shifted</strong>" in page
    assert page.count('<img src="data:image/svg+xml;base64,') == 5
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_medmnist_file_without_views_is_compared_by_its_images(registry: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = generator.integers(0, 256, (10, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(10, dtype=np.uint8)[:, None] % 3
    np.savez(tmp_path / "new.npz", allow_pickle=False, **arrays)
    done = drift(registry, tmp_path / "new.npz", tmp_path / "drift.html", "--format", "medmnist")
    assert done.exit_code == 3, done.output
    found = json.loads((tmp_path / "drift.json").read_text())
    tests = found["drift"]["tests"]
    assert [tests[name]["verdict"] for name in ("view", "age", "sex")] == ["not told by the data"] * 3
    assert tests["embedding"]["new"] == {"pictures": 30, "patients": 30}
    assert any("no patient ids" in note for note in found["notes"])


def test_images_without_labels_are_compared(registry: Path, more_of_the_same: Path, tmp_path: Path) -> None:
    """Fails where a folder of nothing but images is refused, or none of them need be there."""
    (tmp_path / "flat").mkdir()
    for path in more_of_the_same.rglob("*.png"):
        shutil.copy(path, tmp_path / "flat")
    done = drift(registry, tmp_path / "flat", tmp_path / "drift.html", "--format", "folders")
    assert done.exit_code == 0, done.output
    tests = json.loads((tmp_path / "drift.json").read_text())["drift"]["tests"]
    assert [tests[name]["verdict"] for name in ("score", "embedding", "view")] == [
        *("no shift seen", "no shift seen"),
        "not told by the data",
    ]
    (tmp_path / "empty").mkdir()
    done = drift(registry, tmp_path / "empty", tmp_path / "none.html", "--format", "folders")
    assert done.exit_code == 1
    assert "Error: the source must hold images that can be read, got 0 images" in done.output


def test_the_columns_of_a_table_can_be_named(registry: Path, more_of_the_same: Path, tmp_path: Path) -> None:
    """Fails where --table does not reach the reader: the image's column would not be found, nor the patients."""
    images = sorted(more_of_the_same.rglob("*.png"))
    for path in images:
        shutil.copy(path, tmp_path)
    lines = [f"{path.name},{path.name[:8]}" for path in images]
    (tmp_path / "new.csv").write_text("\n".join(["File,Person", *lines]))
    options = ("--format", "table", "--table", "image=File,patient=Person")
    done = drift(registry, tmp_path / "new.csv", tmp_path / "drift.html", *options)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "drift.json").read_text())
    assert found["drift"]["tests"]["score"]["new"] == {"pictures": len(images), "patients": 40}


@pytest.mark.parametrize(
    ("source", "number", "message"),
    [
        ("/nowhere", 1, "Error: no such folder: /nowhere\n"),
        ("/nowhere", 9, "Error: chest has no version 9 in "),
    ],
)
def test_what_is_not_there_is_told_in_one_line(
    registry: Path, tmp_path: Path, source: str, number: int, message: str
) -> None:
    done = drift(registry, source, tmp_path / "drift.html", number=number)
    assert done.exit_code == 1
    assert message in done.output
    assert done.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_source_without_per_image_that_can_be_read_is_refused(
    registry: Path, more_of_the_same: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(more_of_the_same, tmp_path / "broken"))
    for path in broken.rglob("*.png"):
        path.write_bytes(b"no image")
    done = drift(registry, broken, tmp_path / "drift.html")
    assert done.exit_code == 1
    assert "Error: the source must hold images that can be read, got " in done.output


def test_a_changed_reference_is_refused(registry: Path, more_of_the_same: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(registry, tmp_path / "changed"))
    with (changed / "chest" / "1" / "assets.extra" / REFERENCE).open("ab") as file:
        file.write(b"!")
    done = drift(changed, more_of_the_same, tmp_path / "drift.html")
    assert done.exit_code == 1
    assert "must have SHA-256" in done.output


def test_a_version_keeps_the_sample_that_evaluation_drew(registry: Path, evaluation: Evaluated) -> None:
    kept = (registry / "chest" / "1" / "assets.extra" / REFERENCE).read_bytes()
    assert kept == (evaluation.folder / REFERENCE).read_bytes()
    sample = ReferenceSample.read(kept)
    assert sample.labels.tolist() == ["Pneumonia", "Effusion", "Emphysema"]
    assert len(sample.patients) == 58 + 39
    assert int(np.isfinite(sample.scores).all(axis=1).sum()) == 39
    assert sample.features.shape == (97, 1280)


def test_a_report_that_the_figures_would_overwrite_is_refused(registry: Path, tmp_path: Path) -> None:
    """Fails where --report may end in .json: the figures, written last, take the page's place then."""
    done = drift(registry, tmp_path / "nowhere", tmp_path / "x.json")
    assert done.exit_code == 2
    assert f"--report must not end in .json, where the results are written, got {tmp_path}/x.json" in done.output
