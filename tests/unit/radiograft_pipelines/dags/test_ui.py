"""What KFP's UI shows of the packages: names in the graph, and of each task the figures, pages and buttons."""

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
def test_tasks_have_names_for_people(package: str) -> None:
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
def test_boxes_have_names_that_kfp_finds(package: str, boxes: dict[str, str]) -> None:
    """What a loop collects is looked up by the loop's shown name, so that must be its own."""
    parts = pipeline(package)["components"]
    nodes = [
        node
        for holder in (pipeline(package)["root"], *parts.values())
        for node in holder.get("dag", {}).get("tasks", {}).items()
    ]
    found = {key: node["taskInfo"]["name"] for key, node in nodes if "dag" in parts[node["componentRef"]["name"]]}
    assert found == boxes


@every_package
def test_what_a_task_shows(package: str) -> None:
    parts = pipeline(package)["components"]
    shown = {}
    for name, task in tasks(package).items():
        outputs = parts[task.dag["componentRef"]["name"]].get("outputDefinitions", {}).get("artifacts", {})
        kinds = {output: each["artifactType"]["schemaTitle"] for output, each in outputs.items()}
        shown[name] = {output: kind for output, kind in kinds.items() if kind in SHOWN}
        # the button is an artifact of this name, and of no other kind
        assert kinds.get("mlpipeline_ui_metadata") == ("system.Artifact" if name == "evaluate" else None)
    assert {name: found for name, found in shown.items() if found} == {
        "collect-shards": {"data_report": "system.HTML"},
        "evaluate": {
            "metrics": "system.Metrics",
            "curves": "system.ClassificationMetrics",
            "report": "system.HTML",
            "tensorboard": "system.Markdown",
        },
        "publish": {"outcome": "system.Metrics"},
    }
