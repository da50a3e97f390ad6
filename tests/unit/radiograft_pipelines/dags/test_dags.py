"""Task dependencies, conditions and loops of the compiled pipelines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers.packages import PACKAGES, pipeline, tasks

STAGES = {
    "ingest": [],
    "preprocess": ["ingest"],
    "extract-features": ["ingest", "preprocess"],
    "fine-tune": ["extract-features", "ingest", "preprocess"],
    "evaluate": ["extract-features", "fine-tune", "ingest", "preprocess"],
    "publish": ["evaluate", "fine-tune", "ingest"],
}


def test_transfer_learning_dag_has_six_stages() -> None:
    assert _dependencies(_tasks("transfer_learning")) == STAGES


def test_retraining_dag_has_ingest_and_one_nested_pipeline() -> None:
    assert _dependencies(_tasks("retraining")) == {"ingest": [], "train-and-publish": ["ingest"]}
    assert _dependencies(_tasks("retraining", "comp-train-and-publish")) == {
        name: [other for other in others if other != "ingest"] for name, others in STAGES.items() if name != "ingest"
    }


def test_cutoff_search_dag_has_six_stages() -> None:
    assert _dependencies(_tasks("cutoff_search")) == {
        "ingest": [],
        "preprocess": ["ingest"],
        "extract-features": ["ingest", "preprocess"],
        "fine-tune-candidates": ["extract-features", "ingest", "preprocess"],
        "evaluate": ["extract-features", "fine-tune-candidates", "ingest", "preprocess"],
        "publish": ["evaluate", "fine-tune-candidates", "ingest"],
    }
    assert _dependencies(_tasks("cutoff_search", "comp-fine-tune-candidates")) == {
        "list-cut-offs": [],
        "for-loop-1": ["list-cut-offs"],
        "choose-model": ["for-loop-1"],
    }


def test_super_resolution_dag_has_five_stages() -> None:
    assert _dependencies(_tasks("super_resolution")) == {
        "ingest": [],
        "preprocess": ["ingest"],
        "train-super-resolution": ["ingest", "preprocess"],
        "evaluate-super-resolution": ["ingest", "preprocess", "train-super-resolution"],
        "publish-super-resolution": ["evaluate-super-resolution", "ingest", "train-super-resolution"],
    }


def test_backbone_comparison_dag_trains_in_one_nested_pipeline() -> None:
    assert _dependencies(_tasks("backbone_comparison")) == {
        "ingest": [],
        "preprocess": ["ingest"],
        "train-backbones": ["ingest", "preprocess"],
        "evaluate": ["ingest", "preprocess", "train-backbones"],
        "publish": ["evaluate", "ingest", "train-backbones"],
    }
    nested = _tasks("backbone_comparison", "comp-train-backbones")
    assert _dependencies(nested) == {
        "list-backbones": [],
        "for-loop-1": ["list-backbones"],
        "choose-backbone": ["for-loop-1"],
    }
    assert nested["for-loop-1"]["iteratorPolicy"] == {"parallelismLimit": 4}
    item = {"componentInputParameter": nested["for-loop-1"]["parameterIterator"]["itemInput"]}
    for name in ("extract-features", "fine-tune"):
        inputs = tasks("backbone_comparison")[name].dag["inputs"]["parameters"]
        assert inputs["overrides"] == inputs["task_name"] == item  # the latter separates the checkpoints


def test_hyperparameter_search_dag_trains_with_the_settings_of_the_winner() -> None:
    root = _tasks("hyperparameter_search")
    assert _dependencies(root) == {
        "ingest": [],
        "preprocess": ["ingest"],
        "search-settings": ["ingest", "preprocess"],
        "extract-features": ["ingest", "search-settings"],
        "fine-tune": ["extract-features", "ingest", "search-settings"],
        "evaluate": ["extract-features", "fine-tune", "ingest", "search-settings"],
        "publish": ["evaluate", "fine-tune", "ingest"],
    }
    for name in ("extract-features", "fine-tune", "evaluate"):
        shards = root[name]["inputs"]["artifacts"]["shards"]["taskOutputArtifact"]
        assert shards == {"outputArtifactKey": "shards", "producerTask": "search-settings"}
    for name in ("extract-features", "fine-tune"):
        settings = root[name]["inputs"]["parameters"]["settings"]["taskOutputParameter"]
        key = f"{name.replace('-', '_')}_settings"
        assert settings == {"outputParameterKey": key, "producerTask": "search-settings"}


def test_hyperparameter_search_loop_runs_all_workers_on_one_study() -> None:
    nested = _tasks("hyperparameter_search", "comp-search-settings")
    assert _dependencies(nested) == {
        "list-search-workers": [],
        "for-loop-1": ["list-search-workers"],
        "choose-settings": ["for-loop-1"],
    }
    assert "iteratorPolicy" not in nested["for-loop-1"]  # as many pods as search_workers
    item = {"componentInputParameter": nested["for-loop-1"]["parameterIterator"]["itemInput"]}
    inputs = tasks("hyperparameter_search")["run-trials"].dag["inputs"]["parameters"]
    assert inputs["worker"] == item
    for name in ("run-trials", "choose-settings"):  # the study stands below the run, not below the task
        inputs = tasks("hyperparameter_search")[name].dag["inputs"]["parameters"]
        assert inputs["run_id"] == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
        assert "task_name" not in inputs
    trials = tasks("hyperparameter_search")["choose-settings"].dag["inputs"]["artifacts"]["all_trials"]
    assert trials["taskOutputArtifact"]["producerTask"] == "for-loop-1"


@pytest.mark.parametrize("package", PACKAGES)
def test_preprocess_dag_fans_out(package: str) -> None:
    assert _dependencies(_tasks(package, "comp-preprocess-2")) == {
        "list-workers": [],
        "for-loop-1": ["list-workers"],
        "collect-shards": ["for-loop-1"],
    }


def test_retraining_depends_on_decision_of_ingest() -> None:
    group = _tasks("retraining")["train-and-publish"]
    # kfp.local evaluates a condition on an output of any name but `Output` to false.
    output = "pipelinechannel--ingest-Output"
    assert group["triggerPolicy"] == {"condition": f"inputs.parameter_values['{output}'] == true"}
    assert group["inputs"]["parameters"][output] == {
        "taskOutputParameter": {"outputParameterKey": "Output", "producerTask": "ingest"}
    }


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "retraining"])
def test_other_pipelines_have_no_condition(package: str) -> None:
    assert "triggerPolicy" not in json.dumps(pipeline(package))


def _tasks(package: str, component: str = "") -> dict[str, Any]:
    """Returns the tasks of the root DAG, or of a component."""
    holder = pipeline(package)["components"][component] if component else pipeline(package)["root"]
    dag_tasks: dict[str, Any] = holder["dag"]["tasks"]
    return dag_tasks


def _dependencies(dag_tasks: dict[str, Any]) -> dict[str, list[str]]:
    return {name: task.get("dependentTasks", []) for name, task in dag_tasks.items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_preprocess_loop_collects_parts_of_listed_workers(package: str) -> None:
    loop = _tasks(package, "comp-preprocess-2")["for-loop-1"]
    listed = loop["parameterIterator"]["items"]["inputParameter"]
    assert loop["inputs"]["parameters"][listed]["taskOutputParameter"]["producerTask"] == "list-workers"
    worker = tasks(package)["preprocess"].dag["inputs"]["parameters"]["worker"]
    assert worker == {"componentInputParameter": loop["parameterIterator"]["itemInput"]}
    parts = tasks(package)["collect-shards"].dag["inputs"]["artifacts"]["parts"]
    assert parts["taskOutputArtifact"]["producerTask"] == "for-loop-1"


def test_cutoff_search_loop_runs_four_cut_offs_in_parallel() -> None:
    loop = _tasks("cutoff_search", "comp-fine-tune-candidates")["for-loop-1"]
    assert loop["iteratorPolicy"] == {"parallelismLimit": 4}
    listed = loop["parameterIterator"]["items"]["inputParameter"]
    assert loop["inputs"]["parameters"][listed]["taskOutputParameter"] == {
        "outputParameterKey": "Output",
        "producerTask": "list-cut-offs",
    }
    item = {"componentInputParameter": loop["parameterIterator"]["itemInput"]}
    inputs = tasks("cutoff_search")["fine-tune"].dag["inputs"]["parameters"]
    assert inputs["overrides"] == item
    assert inputs["task_name"] == item  # separates the checkpoints


def test_cutoff_search_best_model_is_evaluated_and_published() -> None:
    models = tasks("cutoff_search")["choose-model"].dag["inputs"]["artifacts"]["models"]
    assert models["taskOutputArtifact"]["producerTask"] == "for-loop-1"
    for name in ("evaluate", "publish"):
        model = tasks("cutoff_search")[name].dag["inputs"]["artifacts"]["model"]
        assert model["taskOutputArtifact"] == {"outputArtifactKey": "Output", "producerTask": "fine-tune-candidates"}
