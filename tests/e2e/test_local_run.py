"""Complete local runs: output, reports, published versions, and independence of a second run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from radiograft import storage
from radiograft.config import all_settings
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft_pipelines.local.object_store import embedded_store
from tests.e2e.runs import BUCKET, MODEL, REGISTRY, TwoRuns, read_version
from tests.helpers.browser import needs_chromium, open_page

STAGES = [
    "ingest", "list_workers", "preprocess", "collect_shards", "extract_features", "fine_tune", "evaluate",
    "publish",
]  # fmt: skip


def test_summary_has_version_metrics_and_durations(two_runs: TwoRuns) -> None:
    summary = two_runs.first.summary
    assert (summary["model"], summary["version"]) == ("chest-radiograph", 1)
    assert summary["registry"] == REGISTRY
    assert summary["version_uri"] == f"{REGISTRY}/{MODEL}/1"
    test = summary["metrics"]["test"]
    assert test["n_patients"] == 15  # a quarter of 60
    assert 0.0 <= test["auroc_interval"][0] <= test["auroc"] <= test["auroc_interval"][1] <= 1.0
    assert 0.0 <= test["average_precision"] <= 1.0
    assert 0.5 <= test["majority_accuracy"] <= 1.0
    assert test["accuracy"] * test["n_images"] == pytest.approx(round(test["accuracy"] * test["n_images"]))
    assert list(summary["seconds"]) == STAGES
    assert all(seconds > 0 for seconds in summary["seconds"].values())


def test_output_lists_tasks_metrics_and_paths(two_runs: TwoRuns) -> None:
    output, summary = two_runs.first.output, two_runs.first.summary
    tasks = [line.split()[:2] for line in output.splitlines() if line.startswith("✓")]
    assert tasks == [["✓", stage.replace("_", "-")] for stage in STAGES]
    assert "60 patients" in output
    assert f"{summary['metrics']['test']['auroc']:.3f} " in output
    assert f"chest-radiograph version 1: {REGISTRY}/{MODEL}/1\n" in output
    assert f"{summary['standing']}: {summary['reason']}\n" in output
    assert f"report: {summary['report']}\n" in output
    assert f"data report: {summary['data_report']}\n" in output
    assert f"TensorBoard logs: {summary['tensorboard']}\n" in output
    assert output.endswith("Research only. Not for diagnosis.\n")


def test_latest_links_to_last_run(two_runs: TwoRuns) -> None:
    latest = two_runs.out / "latest"
    assert latest.is_symlink()
    assert latest.readlink() == Path(two_runs.second.summary["run_id"])
    assert json.loads((latest / "summary.json").read_text()) == two_runs.second.summary
    assert two_runs.second.summary["run_id"] != two_runs.first.summary["run_id"]


def test_report_names_run_and_fingerprint(two_runs: TwoRuns) -> None:
    page = Path(two_runs.first.summary["report"]).read_text()
    assert page.lstrip().startswith("<!doctype html>")
    assert two_runs.first.summary["run_id"] in page
    assert two_runs.first.summary["data_fingerprint"] in page


@needs_chromium
def test_report_of_one_label_is_at_most_8000_pixels_high(two_runs: TwoRuns, tmp_path: Path) -> None:
    """Fails if a radiologist must scroll through technical details to read the results of one label."""
    seen = open_page(Path(two_runs.first.summary["report"]).read_text(), 1280, tmp_path)
    assert seen.height <= 8000
    assert (seen.width, seen.scrolled, seen.uncaptioned, seen.console) == (1280, [], 0, [])


def test_data_report_is_beside_report(two_runs: TwoRuns) -> None:
    summary = two_runs.first.summary
    path = Path(summary["data_report"])
    assert (path.parent, path.name) == (Path(summary["report"]).parent, "data.html")
    page = path.read_text()
    assert page.lstrip().startswith("<!doctype html>")
    assert summary["data_fingerprint"] in page


def test_evaluate_outputs_name_tensorboard_folder(two_runs: TwoRuns) -> None:
    folder = two_runs.first.artifacts / "evaluate"
    logs = str(folder / "tensorboard")
    button, card = json.loads((folder / "mlpipeline_ui_metadata").read_text())["outputs"]
    assert button == {"type": "tensorboard", "source": logs}
    assert f"--logdir {logs}\n" in card["source"]


def test_tensorboard_has_embedding_projector(two_runs: TwoRuns) -> None:
    folder = Path(two_runs.first.summary["tensorboard"]) / "evaluation" / "fine_tuning"
    names = {path.name for path in folder.iterdir() if not path.name.startswith("events.")}
    assert names == {"features.tsv", "metadata.tsv", "projector_config.pbtxt", "sprite.png"}


def test_tensorboard_has_loss_and_accuracy_curves(two_runs: TwoRuns) -> None:
    steps = {}
    for folder in sorted(Path(two_runs.first.summary["tensorboard"]).glob("f*/*")):
        events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
        events.Reload()
        for tag in ("epoch_accuracy", "epoch_loss"):
            name = f"{folder.parent.name}/{folder.name}/{tag}"
            steps[name] = [event.step for event in events.Tensors(tag)]
    assert steps == {
        "feature_extraction/train/epoch_accuracy": [1, 2],
        "feature_extraction/train/epoch_loss": [1, 2],
        "feature_extraction/validation/epoch_accuracy": [1, 2],
        "feature_extraction/validation/epoch_loss": [1, 2],
        "fine_tuning/train/epoch_accuracy": [1],
        "fine_tuning/train/epoch_loss": [1],
        "fine_tuning/validation/epoch_accuracy": [1],
        "fine_tuning/validation/epoch_loss": [1],
    }


def test_history_best_epoch_is_last(two_runs: TwoRuns) -> None:
    artifacts = two_runs.first.artifacts
    extracted = json.loads((artifacts / "extract-features" / "feature_model" / "history.json").read_text())
    fine_tuned = json.loads((artifacts / "fine-tune" / "model" / "history.json").read_text())
    assert extracted["best_epoch"] == 2
    assert fine_tuned["best_epoch"] == 1


def test_second_run_publishes_next_version(two_runs: TwoRuns) -> None:
    assert two_runs.second.summary["version"] == 2
    with embedded_store(two_runs.store):
        assert registry.list_versions(REGISTRY, MODEL) == [1, 2]
        manifests = [registry.verify_version(REGISTRY, MODEL, number) for number in (1, 2)]
    assert [manifest["version"] for manifest in manifests] == [1, 2]


def test_second_run_leaves_version_1_unchanged(two_runs: TwoRuns) -> None:
    assert "manifest.json" in two_runs.between
    assert read_version(two_runs.out, 1) == two_runs.between


def test_version_status_follows_gate(two_runs: TwoRuns) -> None:
    with embedded_store(two_runs.store):
        current = production.read_production(REGISTRY, MODEL)
    for run in (two_runs.first, two_runs.second):
        gate = json.loads((run.artifacts / "evaluate" / "evaluation" / "metrics.json").read_text())["gate"]
        assert run.summary["standing"] == ("production" if gate["promote"] else "candidate")
        assert run.summary["reason"] == "; ".join(gate["reasons"])
    promoted = [
        run.summary["version"] for run in (two_runs.first, two_runs.second) if run.summary["standing"][0] == "p"
    ]
    assert [change.version for change in current.history] == promoted if current else promoted == []


def test_models_commands_accept_published_versions(two_runs: TwoRuns) -> None:
    script = str(Path(sys.executable).parent / "radiograft")
    for command, text in (["list"], "1  "), (["verify", "2"], "sample predictions match"):
        arguments = [script, "models", *command, "--out", str(two_runs.out)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert text in done.stdout


def test_same_seed_gives_identical_results(two_runs: TwoRuns) -> None:
    first, second = two_runs.first.summary, two_runs.second.summary
    for name in ("metrics", "feature_extraction", "data_fingerprint"):
        assert first[name] == second[name]
    predictions = Path("evaluate", "evaluation", "predictions.parquet")
    one, other = (pd.read_parquet(run.artifacts / predictions) for run in (two_runs.first, two_runs.second))
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def test_artifacts_are_in_object_store(two_runs: TwoRuns) -> None:
    run = two_runs.first
    local = {
        path.relative_to(run.artifacts.parent).as_posix(): path.read_bytes()
        for path in run.artifacts.rglob("*")
        if path.is_file()
    }
    with embedded_store(two_runs.store):
        entries = storage.list_files(f"{BUCKET}/runs/{run.summary['run_id']}")
        stored = {entry.name: storage.read_bytes(entry.uri) for entry in entries}
    assert any(name.endswith("fine-tune/model/saved_model/saved_model.pb") for name in stored)
    assert stored == local


def test_lineage_has_run_data_and_settings(two_runs: TwoRuns) -> None:
    with embedded_store(two_runs.store):
        lineage = json.loads(storage.read_bytes(f"{REGISTRY}/{MODEL}/2/assets.extra/lineage.json"))
    assert lineage["run_id"] == two_runs.second.summary["run_id"]
    assert lineage["source"] == f"{BUCKET}/phantom/phantom-60-patients-seed-0"
    assert lineage["fingerprint"] == two_runs.second.summary["data_fingerprint"]
    assert lineage["settings"]["model_cut_off"] == "block7a_expand_conv"
    assert set(lineage["settings"]) == set(all_settings())


def _is_served(folder: Path) -> bool:
    """Returns whether any process has the folder in its command line."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # the process may have ended
            if str(folder).encode() in process.read_bytes():
                return True
    return False


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to list processes")
def test_object_store_stops_after_run(two_runs: TwoRuns) -> None:
    with embedded_store(two_runs.store):
        assert _is_served(two_runs.store)
    assert not _is_served(two_runs.out)
