"""Tasks of a loop are distinguished by their iteration."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import kfp_server_api as api
import pytest

from radiograft_pipelines.cluster.loops import loop_labels
from tests.helpers.recordings import read_recording


def _recorded_run() -> Any:
    answer = SimpleNamespace(data=json.dumps(read_recording("run_named_in_the_ui_two_workers")))
    return api.ApiClient(api.Configuration()).deserialize(answer, "V2beta1Run")


def _labels(run: Any, name: str) -> dict[str, str | None]:
    """Returns the labels of the tasks with a name, by the number in the ID of their first child."""
    labels = loop_labels(run)
    tasks = [task for task in run.run_details.task_details if task.display_name == name]
    return {task.child_tasks[0].pod_name.rpartition("-")[2]: labels.get(task.task_id) for task in tasks}


def test_loop_labels_recorded_run_distinguishes_workers() -> None:
    """Fails if the IDs of Argo's nodes are made in another way: then no task can be assigned to its iteration."""
    assert _labels(_recorded_run(), "preprocess") == {"253369683": "1 of 2", "1681480927": "2 of 2"}


def test_loop_labels_other_tasks_have_none() -> None:
    run = _recorded_run()
    for name in ("ingest", "list-workers", "collect-shards", "fine-tune", "evaluate", "publish", "root"):
        assert list(_labels(run, name).values()) == [None]


def test_loop_labels_one_worker_has_none() -> None:
    run = _recorded_run()
    iterations = ("iteration-iterations(1:1)", "iteration-iterations(1:1)(0)")
    run.run_details.task_details = [
        task for task in run.run_details.task_details if task.display_name not in iterations
    ]
    assert loop_labels(run) == {}


@pytest.mark.parametrize("details", [None, api.V2beta1RunDetails(task_details=[])], ids=["none", "empty"])
def test_loop_labels_no_tasks_is_empty(details: Any) -> None:
    assert loop_labels(api.V2beta1Run(run_details=details)) == {}
