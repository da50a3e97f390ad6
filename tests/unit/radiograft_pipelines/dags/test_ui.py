"""What KFP's UI shows: names in the graph, and each task's metrics, pages and buttons."""

from __future__ import annotations

import pytest

from tests.helpers.packages import PACKAGES, pipeline, tasks

every_package = pytest.mark.parametrize("package", PACKAGES)
NAMES = {
    "ingest": "Ingest",
    "list-workers": "List workers",
    "preprocess": "Preprocess",
    "collect-shards": "Collect shards",
    "extract-features": "Extract features",
    "fine-tune": "Fine tune",
    "evaluate": "Evaluate",
    "publish": "Publish",
    "list-cut-offs": "List cut offs",
    "choose-model": "Choose model",
}
SHOWN = ("system.ClassificationMetrics", "system.HTML", "system.Markdown", "system.Metrics")


@every_package
def test_tasks_have_display_names(package: str) -> None:
    assert {name: task.dag["taskInfo"]["name"] for name, task in tasks(package).items()} == {
        name: NAMES[name] for name in tasks(package)
    }


@pytest.mark.parametrize(
    ("package", "boxes"),
    [
        ("transfer_learning", {"condition-1": "Worth training", "for-loop-2": "for-loop-2"}),
        (
            "cutoff_search",
            {"condition-1": "Worth training", "for-loop-2": "for-loop-2", "for-loop-3": "for-loop-3"},
        ),
    ],
)
def test_groups_have_expected_display_names(package: str, boxes: dict[str, str]) -> None:
    """A loop must keep its own name, because KFP looks up collected outputs by display name."""
    parts = pipeline(package)["components"]
    nodes = [
        node
        for holder in (pipeline(package)["root"], *parts.values())
        for node in holder.get("dag", {}).get("tasks", {}).items()
    ]
    names = {key: node["taskInfo"]["name"] for key, node in nodes if "dag" in parts[node["componentRef"]["name"]]}
    assert names == boxes


@every_package
def test_tasks_show_expected_artifacts(package: str) -> None:
    parts = pipeline(package)["components"]
    shown = {}
    for name, task in tasks(package).items():
        outputs = parts[task.dag["componentRef"]["name"]].get("outputDefinitions", {}).get("artifacts", {})
        kinds = {output: spec["artifactType"]["schemaTitle"] for output, spec in outputs.items()}
        shown[name] = {output: kind for output, kind in kinds.items() if kind in SHOWN}
        # KFP shows a button for an artifact of this name and type
        assert kinds.get("mlpipeline_ui_metadata") == ("system.Artifact" if name == "evaluate" else None)
    assert {name: artifacts for name, artifacts in shown.items() if artifacts} == {
        "collect-shards": {"data_report": "system.HTML"},
        "evaluate": {
            "metrics": "system.Metrics",
            "curves": "system.ClassificationMetrics",
            "report": "system.HTML",
            "tensorboard": "system.Markdown",
        },
        "publish": {"outcome": "system.Metrics"},
    }
