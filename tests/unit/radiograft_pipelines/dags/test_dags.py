"""Which task waits for which, and how the search fans out and comes together again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.packages import PACKAGES, pipeline, tasks


def test_the_dag() -> None:
    assert _dependencies(_root("transfer_learning")) == {"ingest": [], "condition-1": ["ingest"]}
    assert _dependencies(_if_worth_training("transfer_learning")) == {
        "list-workers": [],
        "for-loop-2": ["list-workers"],
        "collect-shards": ["for-loop-2"],
        "extract-features": ["collect-shards"],
        "fine-tune": ["collect-shards", "extract-features"],
        "evaluate": ["collect-shards", "extract-features", "fine-tune"],
        "publish": ["evaluate", "fine-tune"],
    }


def test_the_dag_of_the_search() -> None:
    assert _dependencies(_root("cutoff_search")) == {"ingest": [], "condition-1": ["ingest"]}
    assert _dependencies(_if_worth_training("cutoff_search")) == {
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
def test_everything_after_ingest_happens_only_if_ingest_says_so(package: str) -> None:
    group = _root(package)["condition-1"]
    # Under another name than `Output`, kfp.local would not find the output, and take the condition for false.
    said = "pipelinechannel--ingest-Output"
    assert group["triggerPolicy"] == {"condition": f"inputs.parameter_values['{said}'] == true"}
    assert group["inputs"]["parameters"][said] == {
        "taskOutputParameter": {"outputParameterKey": "Output", "producerTask": "ingest"}
    }
    outputs = pipeline(package)["components"]["comp-ingest"]["outputDefinitions"]["parameters"]
    assert outputs == {"Output": {"parameterType": "BOOLEAN"}}


def _root(package: str) -> dict[str, Any]:
    found: dict[str, Any] = pipeline(package)["root"]["dag"]["tasks"]
    return found


def _if_worth_training(package: str) -> dict[str, Any]:
    found: dict[str, Any] = pipeline(package)["components"]["comp-condition-1"]["dag"]["tasks"]
    return found


def _dependencies(tasks_of_a_dag: dict[str, Any]) -> dict[str, list[str]]:
    return {name: task.get("dependentTasks", []) for name, task in tasks_of_a_dag.items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_listed_workers_share_the_images_and_their_parts_are_collected(package: str) -> None:
    loop = _if_worth_training(package)["for-loop-2"]
    listed = loop["parameterIterator"]["items"]["inputParameter"]
    assert loop["inputs"]["parameters"][listed]["taskOutputParameter"]["producerTask"] == "list-workers"
    worker = tasks(package)["preprocess"].dag["inputs"]["parameters"]["worker"]
    assert worker == {"componentInputParameter": loop["parameterIterator"]["itemInput"]}
    parts = tasks(package)["collect-shards"].dag["inputs"]["artifacts"]["parts"]
    assert parts["taskOutputArtifact"]["producerTask"] == "for-loop-2"


def test_the_search_fans_out_over_the_listed_cut_offs_four_at_once() -> None:
    loop = _if_worth_training("cutoff_search")["for-loop-3"]
    assert loop["iteratorPolicy"] == {"parallelismLimit": 4}
    listed = loop["parameterIterator"]["items"]["inputParameter"]
    assert loop["inputs"]["parameters"][listed]["taskOutputParameter"] == {
        "outputParameterKey": "Output",
        "producerTask": "list-cut-offs",
    }
    item = {"componentInputParameter": loop["parameterIterator"]["itemInput"]}
    tuned = tasks("cutoff_search")["fine-tune"].dag["inputs"]["parameters"]
    assert tuned["model_cut_off"] == item
    assert tuned["task_name"] == item  # each its own checkpoints


def test_the_searches_models_are_collected() -> None:
    models = tasks("cutoff_search")["choose-model"].dag["inputs"]["artifacts"]["models"]
    assert models["taskOutputArtifact"]["producerTask"] == "for-loop-3"
    for name in ("evaluate", "publish"):
        model = tasks("cutoff_search")[name].dag["inputs"]["artifacts"]["model"]
        assert model["taskOutputArtifact"] == {"outputArtifactKey": "model", "producerTask": "choose-model"}
