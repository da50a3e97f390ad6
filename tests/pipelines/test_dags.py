"""Which task waits for which, and how the search fans out and comes together again."""

from __future__ import annotations

from tests.pipelines.packages import pipeline, tasks


def test_the_dag() -> None:
    assert _dependencies("transfer_learning") == {
        "ingest": [],
        "preprocess": ["ingest"],
        "extract-features": ["preprocess"],
        "fine-tune": ["extract-features", "preprocess"],
        "evaluate": ["extract-features", "fine-tune", "preprocess"],
        "publish": ["evaluate", "fine-tune"],
    }


def test_the_dag_of_the_search() -> None:
    assert _dependencies("cutoff_search") == {
        "ingest": [],
        "preprocess": ["ingest"],
        "extract-features": ["preprocess"],
        "list-cut-offs": ["extract-features"],
        "for-loop-1": ["extract-features", "list-cut-offs", "preprocess"],
        "choose-model": ["for-loop-1"],
        "evaluate": ["choose-model", "extract-features", "preprocess"],
        "publish": ["choose-model", "evaluate"],
    }


def _dependencies(package: str) -> dict[str, list[str]]:
    root = pipeline(package)["root"]["dag"]["tasks"]
    return {name: task.get("dependentTasks", []) for name, task in root.items()}


def test_the_search_fans_out_over_the_listed_cut_offs_four_at_once() -> None:
    loop = pipeline("cutoff_search")["root"]["dag"]["tasks"]["for-loop-1"]
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
    assert models["taskOutputArtifact"]["producerTask"] == "for-loop-1"
    for name in ("evaluate", "publish"):
        model = tasks("cutoff_search")[name].dag["inputs"]["artifacts"]["model"]
        assert model["taskOutputArtifact"] == {"outputArtifactKey": "model", "producerTask": "choose-model"}
