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
    "fine-tune": "Fine-tune",
    "evaluate": "Evaluate",
    "publish": "Publish",
    "list-cut-offs": "List cut offs",
    "choose-model": "Choose model",
    "list-backbones": "List backbones",
    "choose-backbone": "Choose backbone",
    "list-search-workers": "List search workers",
    "run-trials": "Run trials",
    "choose-settings": "Choose settings",
    "train-super-resolution": "Train super resolution",
    "evaluate-super-resolution": "Evaluate super resolution",
    "publish-super-resolution": "Publish super resolution",
}
OF_THE_SEARCH = {
    "run-trials": {"metrics": "system.Metrics"},
    "choose-settings": {"metrics": "system.Metrics", "report": "system.HTML"},
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
        ("transfer_learning", {"preprocess": "Preprocess", "for-loop-1": "for-loop-1"}),
        (
            "retraining",
            {"train-and-publish": "Train and publish", "preprocess": "Preprocess", "for-loop-1": "for-loop-1"},
        ),
        (
            "backbone_comparison",
            {"preprocess": "Preprocess", "train-backbones": "Train backbones", "for-loop-1": "for-loop-1"},
        ),
        ("super_resolution", {"preprocess": "Preprocess", "for-loop-1": "for-loop-1"}),
        (
            "cutoff_search",
            {"preprocess": "Preprocess", "fine-tune-candidates": "Fine-tune", "for-loop-1": "for-loop-1"},
        ),
        (
            "hyperparameter_search",
            {"preprocess": "Preprocess", "search-settings": "Search settings", "for-loop-1": "for-loop-1"},
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


@pytest.mark.parametrize(
    ("package", "names"),
    [
        ("transfer_learning", ["Ingest", "Preprocess", "Extract features", "Fine-tune", "Evaluate", "Publish"]),
        ("cutoff_search", ["Ingest", "Preprocess", "Extract features", "Fine-tune", "Evaluate", "Publish"]),
        ("retraining", ["Ingest", "Train and publish"]),
        (
            "super_resolution",
            ["Ingest", "Preprocess", "Train super resolution", "Evaluate super resolution", "Publish super resolution"],
        ),
        ("backbone_comparison", ["Ingest", "Preprocess", "Train backbones", "Evaluate", "Publish"]),
        (
            "hyperparameter_search",
            ["Ingest", "Preprocess", "Search settings", "Extract features", "Fine-tune", "Evaluate", "Publish"],
        ),
    ],
)
def test_root_graph_shows_stages(package: str, names: list[str]) -> None:
    shown = [task["taskInfo"]["name"] for task in pipeline(package)["root"]["dag"]["tasks"].values()]
    assert sorted(shown) == sorted(names)


@every_package
def test_tasks_show_few_artifacts(package: str) -> None:
    """Each is a box in the graph. Metrics are boxes too, but a run of KFP compares only them."""
    parts = pipeline(package)["components"]
    outputs = {
        name: sorted(parts[task.dag["componentRef"]["name"]].get("outputDefinitions", {}).get("artifacts", {}))
        for name, task in tasks(package).items()
    }
    expected = {
        "ingest": ["catalog", "resolved_settings"],
        "list-workers": [],
        "preprocess": ["part"],
        "collect-shards": ["data_report", "shards"],
        "extract-features": ["feature_model", "features"],
        "fine-tune": ["model"],
        "evaluate": ["curves", "evaluation", "metrics", "mlpipeline_ui_metadata", "report", "tensorboard"],
        "publish": ["outcome", "version"],
        "list-cut-offs": [],
        "choose-model": ["model"],
        "list-backbones": [],
        "choose-backbone": ["feature_model", "features", "model"],
        "list-search-workers": [],
        "run-trials": ["metrics", "trials"],
        "choose-settings": ["best_shards", "metrics", "mlpipeline_ui_metadata", "report", "search"],
        "train-super-resolution": ["model"],
        "evaluate-super-resolution": ["evaluation", "metrics", "report"],
        "publish-super-resolution": ["version"],
    }
    assert outputs == {name: expected[name] for name in outputs}


@every_package
def test_tasks_show_expected_artifacts(package: str) -> None:
    parts = pipeline(package)["components"]
    shown = {}
    for name, task in tasks(package).items():
        outputs = parts[task.dag["componentRef"]["name"]].get("outputDefinitions", {}).get("artifacts", {})
        kinds = {output: spec["artifactType"]["schemaTitle"] for output, spec in outputs.items()}
        shown[name] = {output: kind for output, kind in kinds.items() if kind in SHOWN}
        # KFP shows a button for an artifact of this name and type
        has_card = name in ("evaluate", "choose-settings")
        assert kinds.get("mlpipeline_ui_metadata") == ("system.Artifact" if has_card else None)
    of_classifiers = {
        "evaluate": {
            "metrics": "system.Metrics",
            "curves": "system.ClassificationMetrics",
            "report": "system.HTML",
        },
        "publish": {"outcome": "system.Metrics"},
    }
    of_generators = {"evaluate-super-resolution": {"metrics": "system.Metrics", "report": "system.HTML"}}
    assert {name: artifacts for name, artifacts in shown.items() if artifacts} == {
        "ingest": {"resolved_settings": "system.Markdown"},
        "collect-shards": {"data_report": "system.HTML"},
        **(of_generators if package == "super_resolution" else of_classifiers),
        **(OF_THE_SEARCH if package == "hyperparameter_search" else {}),
    }
