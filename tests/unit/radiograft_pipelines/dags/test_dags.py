"""Task dependencies, conditions and loops of the compiled pipelines."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.packages import PACKAGES, pipeline, tasks


def test_transfer_learning_dag_has_expected_dependencies() -> None:
    assert _dependencies(_root_tasks("transfer_learning")) == {"ingest": [], "condition-1": ["ingest"]}
    assert _dependencies(_condition_tasks("transfer_learning")) == {
        "list-workers": [],
        "for-loop-2": ["list-workers"],
        "collect-shards": ["for-loop-2"],
        "extract-features": ["collect-shards"],
        "fine-tune": ["collect-shards", "extract-features"],
        "evaluate": ["collect-shards", "extract-features", "fine-tune"],
        "publish": ["evaluate", "fine-tune"],
    }


def test_cutoff_search_dag_has_expected_dependencies() -> None:
    assert _dependencies(_root_tasks("cutoff_search")) == {"ingest": [], "condition-1": ["ingest"]}
    assert _dependencies(_condition_tasks("cutoff_search")) == {
        "list-workers": [],
        "for-loop-2": ["list-workers"],
        "collect-shards": ["for-loop-2"],
        "extract-features": ["collect-shards"],
        "list-cut-offs": ["extract-features"],
        "for-loop-3": ["collect-shards", "extract-features", "list-cut-offs"],
        "choose-model": ["for-loop-3"],
        "evaluate": ["choose-model", "collect-shards", "extract-features"],
        "publish": ["choose-model", "evaluate"],
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_stages_after_ingest_depend_on_its_decision(package: str) -> None:
    group = _root_tasks(package)["condition-1"]
    # kfp.local evaluates a condition on an output of any name but `Output` to false.
    output = "pipelinechannel--ingest-Output"
    assert group["triggerPolicy"] == {"condition": f"inputs.parameter_values['{output}'] == true"}
    assert group["inputs"]["parameters"][output] == {
        "taskOutputParameter": {"outputParameterKey": "Output", "producerTask": "ingest"}
    }
    outputs = pipeline(package)["components"]["comp-ingest"]["outputDefinitions"]["parameters"]
    assert outputs == {"Output": {"parameterType": "BOOLEAN"}}


def _root_tasks(package: str) -> dict[str, Any]:
    root: dict[str, Any] = pipeline(package)["root"]["dag"]["tasks"]
    return root


def _condition_tasks(package: str) -> dict[str, Any]:
    condition: dict[str, Any] = pipeline(package)["components"]["comp-condition-1"]["dag"]["tasks"]
    return condition


def _dependencies(dag_tasks: dict[str, Any]) -> dict[str, list[str]]:
    return {name: task.get("dependentTasks", []) for name, task in dag_tasks.items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_preprocess_loop_collects_parts_of_listed_workers(package: str) -> None:
    loop = _condition_tasks(package)["for-loop-2"]
    listed = loop["parameterIterator"]["items"]["inputParameter"]
    assert loop["inputs"]["parameters"][listed]["taskOutputParameter"]["producerTask"] == "list-workers"
    worker = tasks(package)["preprocess"].dag["inputs"]["parameters"]["worker"]
    assert worker == {"componentInputParameter": loop["parameterIterator"]["itemInput"]}
    parts = tasks(package)["collect-shards"].dag["inputs"]["artifacts"]["parts"]
    assert parts["taskOutputArtifact"]["producerTask"] == "for-loop-2"


def test_cutoff_search_loop_runs_four_cut_offs_in_parallel() -> None:
    loop = _condition_tasks("cutoff_search")["for-loop-3"]
    assert loop["iteratorPolicy"] == {"parallelismLimit": 4}
    listed = loop["parameterIterator"]["items"]["inputParameter"]
    assert loop["inputs"]["parameters"][listed]["taskOutputParameter"] == {
        "outputParameterKey": "Output",
        "producerTask": "list-cut-offs",
    }
    item = {"componentInputParameter": loop["parameterIterator"]["itemInput"]}
    inputs = tasks("cutoff_search")["fine-tune"].dag["inputs"]["parameters"]
    assert inputs["model_cut_off"] == item
    assert inputs["task_name"] == item  # separates the checkpoints


def test_cutoff_search_best_model_is_evaluated_and_published() -> None:
    models = tasks("cutoff_search")["choose-model"].dag["inputs"]["artifacts"]["models"]
    assert models["taskOutputArtifact"]["producerTask"] == "for-loop-3"
    for name in ("evaluate", "publish"):
        model = tasks("cutoff_search")[name].dag["inputs"]["artifacts"]["model"]
        assert model["taskOutputArtifact"] == {"outputArtifactKey": "model", "producerTask": "choose-model"}
