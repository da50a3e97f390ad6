"""`radiograft evaluate`: a version trained on the phantom, on another phantom with other names of findings."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from radiograft import storage
from radiograft.config import Publish
from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.registry import external, production
from radiograft.registry import versions as registry
from radiograft.stages.publish import task as publish
from radiograft_pipelines.cli.main import main
from tests.helpers.browser import audit_accessibility, needs_chromium, open_page
from tests.helpers.stages import Evaluated

MODEL = "chest"
PATIENTS = 30
RENAMED = {"Effusion": "Fluid", "Pneumonia": "Consolidating, viral"}  # our names -> those of the other archive


@pytest.fixture(scope="module")
def published(evaluation: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with version 1, which predicts Pneumonia, Effusion and Emphysema and requires the set `clinic`."""
    place = tmp_path_factory.mktemp("registry")
    copy = shutil.copytree(evaluation.folder, tmp_path_factory.mktemp("published") / "evaluation")
    results = json.loads((copy / "metrics.json").read_text())
    results["gate"] |= {"promote": True, "reasons": ["good enough"], "champion": None}
    results["lineage"]["settings"]["gate_external"] = "clinic=0.1"
    (copy / "metrics.json").write_text(json.dumps(results))
    inputs = publish.PublishInputs(evaluation.inputs.model, copy, evaluation.report)
    settings = Publish(publish_registry=str(place), publish_model_name=MODEL, gate_external="clinic=0.1")
    publish.run(settings, inputs, "run-1", tmp_path_factory.mktemp("out") / "version")
    return place


@pytest.fixture(scope="module")
def clinic(nih_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with images of other patients, three images of the training data and one of the test data."""
    folder = tmp_path_factory.mktemp("clinic")
    rows = []
    for name, content in generate_phantom_files(PATIENTS, seed=5, size=64):
        if name.endswith(".png"):
            storage.write_bytes(str(folder / "films" / Path(name).name), content)
        elif name.startswith("Data_Entry"):
            rows = list(csv.DictReader(io.StringIO(content.decode())))
    table = pd.DataFrame(
        {
            "image": [row["Image Index"] for row in rows],
            "patient": [f"clinic-{row['Patient ID']}" for row in rows],
            "view": [row["View Position"] for row in rows],
            "finding": [_renamed(row["Finding Labels"]) for row in rows],
        }
    )
    known = {path.name: path for path in nih_folder.rglob("*.png")}
    test = set((nih_folder / "test_list.txt").read_text().split())
    copies = [*sorted(set(known) - test)[:3], sorted(test)[0]]
    for number, name in enumerate(copies):
        shutil.copy(known[name], folder / "films" / f"copy{number}.png")
    first = str(table["patient"][0])  # has a copy of a training image, so that his other images are left out
    extra = pd.DataFrame(
        {
            "image": [f"copy{number}.png" for number in range(4)],
            "patient": [first, "copied-1", "copied-2", "copied-3"],
            "view": "PA",
            "finding": "Fluid",
        }
    )
    pd.concat([table, extra]).to_csv(folder / "films.csv", index=False)
    return folder / "films.csv"


def _renamed(findings: str) -> str:
    names = [RENAMED.get(name, name) for name in findings.split("|") if name != "Emphysema"]
    return "|".join(names) or "No Finding"


class Run(NamedTuple):
    """The output of the command, content of its .json file, its page, and the registry with the record."""

    output: str
    results: dict[str, Any]
    page: str
    registry: Path


def evaluate(place: Path, report: Path, *options: str) -> Result:
    common = ("--model", MODEL, "--version", "1", "--registry", str(place), "--report", str(report))
    arguments = ["evaluate", *common, "--set", "evaluate_bootstrap_samples=100", *options]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def models(place: Path, command: str, *arguments: str) -> Result:
    options = ["--model", MODEL, "--registry", str(place)]
    return CliRunner().invoke(main, ["models", command, *options, *arguments], catch_exceptions=False)


def table_options(source: Path) -> tuple[str, ...]:
    renamed = ",".join(f'"{theirs}"={ours}' for ours, theirs in RENAMED.items())
    return ("--source", str(source), "--format", "table", "--table", "label=finding", "--labels", renamed)


@pytest.fixture(scope="module")
def on_clinic(published: Path, clinic: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The evaluation on that table with corruptions, recorded in a copy of the registry."""
    folder = tmp_path_factory.mktemp("on-clinic")
    place, report = shutil.copytree(published, folder / "registry"), folder / "pages" / "clinic.html"
    options = ("--name", "clinic", "--corruptions", "tissuemnist")
    result = evaluate(place, report, *table_options(clinic), *options)
    assert result.exit_code == 0, result.output
    return Run(result.output, json.loads(report.with_suffix(".json").read_text()), report.read_text(), place)


@pytest.fixture
def recorded(on_clinic: Run, tmp_path: Path) -> Path:
    """A copy of the registry with the record, which a test may change."""
    return shutil.copytree(on_clinic.registry, tmp_path / "registry")


def test_evaluate_other_archive_reports_common_labels_overlap_and_loss(on_clinic: Run, clinic: Path) -> None:
    results, table = on_clinic.results, pd.read_csv(clinic)
    assert results["labels"]["common"] == ["Pneumonia", "Effusion"]
    assert results["labels"]["version_only"] == ["Emphysema"]
    assert "Mass" in results["labels"]["archive_only"]
    assert results["labels"]["renamed"] == {"Fluid": "Effusion", "Consolidating, viral": "Pneumonia"}
    others = int((table["patient"] == table["patient"][0]).sum()) - 1
    assert results["overlap"] == {"seen_images": 3, "other_images_of_seen_patients": others}
    kept = table[(table["patient"] != table["patient"][0]) & ~table["image"].isin(["copy1.png", "copy2.png"])]
    assert results["metrics"]["n_images"] == len(kept)
    fluid = kept["finding"].str.contains("Fluid")
    assert results["metrics"]["labels"]["Effusion"]["positives"] == int(fluid.sum())
    loss = results["comparison"]["labels"]["Effusion"]
    assert loss["loss"]["value"] == pytest.approx(loss["internal"]["value"] - loss["external"]["value"])
    assert loss["loss"]["low"] < loss["loss"]["value"] < loss["loss"]["high"]
    assert "only the version has: Emphysema" in on_clinic.output
    assert "left out: 3 images seen in training or validation" in on_clinic.output


def test_evaluate_transfers_thresholds_and_temperatures_of_the_version(on_clinic: Run) -> None:
    (version,) = registry.read_objects(str(on_clinic.registry), MODEL, 1, "metrics.json")
    thresholds, results = version["thresholds"]["fine_tuning"], on_clinic.results
    assert results["thresholds"] == {label: thresholds[label] for label in ("Pneumonia", "Effusion")}
    assert results["internal"]["labels"]["Effusion"]["auroc"]["value"] == pytest.approx(
        version["metrics"]["fine_tuning"]["test"]["labels"]["Effusion"]["auroc"]["value"]
    )
    assert results["calibration"]["labels"].keys() == {"Pneumonia", "Effusion"}
    for label, calibrated in results["calibration"]["labels"].items():
        assert calibrated["temperature"] == pytest.approx(version["calibration"]["labels"][label]["temperature"])


def test_evaluate_report_shows_internal_beside_external(on_clinic: Run) -> None:
    for heading in (
        "External validation",
        "Robustness to corruptions",
        "Calibration",
        "Subgroup analysis",
        "Confounders in the external set",
    ):
        assert f">{heading}" in on_clinic.page
    assert "AUROC, internal test" in on_clinic.page
    assert "on test" not in on_clinic.page


@needs_chromium
def test_evaluate_report_is_accessible_and_fits_narrow_screen(on_clinic: Run, tmp_path: Path) -> None:
    for scheme in ("light", "dark"):
        assert audit_accessibility(on_clinic.page, scheme, tmp_path) == []
    seen = open_page(on_clinic.page, 390, tmp_path)
    assert (seen.width, seen.console, seen.broken_images, seen.uncaptioned) == (390, [], 0, 0)


def test_evaluate_corruptions_reports_auroc_by_severity(on_clinic: Run) -> None:
    robustness, clean = on_clinic.results["robustness"], on_clinic.results["metrics"]["mean"]["auroc"]
    assert robustness["severities"] == [0, 1, 2, 3, 4, 5]
    assert robustness["mean"][0]["value"] == pytest.approx(clean["value"])
    assert robustness["mean"][0]["low"] == pytest.approx(clean["low"])
    assert len(robustness["corruptions"]) == 8
    assert all(len(curve) == 6 for curve in robustness["corruptions"].values())
    strongest = [curve[5]["value"] for curve in robustness["corruptions"].values()]
    assert robustness["mean"][5]["value"] == pytest.approx(sum(strongest) / 8)
    assert any("chosen for 224 pixels" in warning for warning in on_clinic.results["warnings"])


def test_evaluate_recorded_set_is_shown_and_never_replaced(on_clinic: Run, clinic: Path, tmp_path: Path) -> None:
    place, mean = str(on_clinic.registry), on_clinic.results["comparison"]["mean"]
    shown = models(on_clinic.registry, "show", "1").output
    assert "external evaluations" in shown
    assert f"{mean['external']['value']:.3f}" in shown
    (record,) = external.read_records(place, MODEL, 1)
    assert json.loads(storage.read_bytes(external.file_uri(place, MODEL, record, "metrics.json"))) == on_clinic.results
    assert storage.read_bytes(external.file_uri(place, MODEL, record, "report.html")).decode() == on_clinic.page
    assert registry.list_versions(place, MODEL) == [1]
    again = evaluate(on_clinic.registry, tmp_path / "a.html", *table_options(clinic), "--name", "clinic")
    assert again.exit_code == 1
    assert "version 1 already has an external evaluation clinic" in again.output


def test_verify_corrupt_file_of_external_evaluation_is_reported(recorded: Path) -> None:
    (record,) = external.read_records(str(recorded), MODEL, 1)
    assert "2 files of external evaluations match" in models(recorded, "verify", "1").output
    Path(external.file_uri(str(recorded), MODEL, record, "metrics.json")).write_text("{}")
    result = models(recorded, "verify", "1")
    assert result.exit_code == 1
    assert "must have SHA-256" in result.output


def test_promote_gate_external_requires_recorded_evaluation(published: Path, recorded: Path) -> None:
    assert production.read_production(str(published), MODEL) is None  # publish left it a candidate
    refused = models(published, "promote", "1")
    assert refused.exit_code == 1
    assert "no external evaluation clinic is recorded" in refused.output
    promoted = models(recorded, "promote", "1")
    assert promoted.exit_code == 0, promoted.output
    current = production.read_production(str(recorded), MODEL)
    assert current is not None
    assert current.version == 1


def test_promote_forced_records_unmet_gate_external(published: Path, tmp_path: Path) -> None:
    place = shutil.copytree(published, tmp_path / "registry")
    assert models(place, "promote", "1", "--force", "--reason", "emergency").exit_code == 0
    current = production.read_production(str(place), MODEL)
    assert current is not None
    assert current.history[-1].reason == "emergency; forced although no external evaluation clinic is recorded"


def test_evaluate_own_source_leaves_test_images_only(published: Path, nih_folder: Path, tmp_path: Path) -> None:
    report, source = tmp_path / "own.html", ("--source", str(nih_folder), "--format", "chestxray14", "--no-record")
    assert evaluate(published, report, *source).exit_code == 0
    results = json.loads(report.with_suffix(".json").read_text())
    test = len((nih_folder / "test_list.txt").read_text().split())
    assert results["metrics"]["n_images"] == test
    assert results["overlap"]["seen_images"] == len(list(nih_folder.rglob("*.png"))) - test
    assert results["comparison"]["labels"]["Effusion"]["loss"]["value"] == pytest.approx(0, abs=1e-6)
    assert any("own data source" in warning for warning in results["warnings"])


def test_evaluate_archive_without_common_label_is_rejected(published: Path, clinic: Path, tmp_path: Path) -> None:
    source = ("--source", str(clinic), "--format", "table", "--table", "label=finding")
    result = evaluate(published, tmp_path / "a.html", *source)
    assert result.exit_code == 1
    assert "must have a finding in common with the version, which predicts Pneumonia, Effusion" in result.output
    assert "--labels THEIRS=OURS" in result.output
