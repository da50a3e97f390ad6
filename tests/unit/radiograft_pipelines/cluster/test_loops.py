"""Tasks in a loop are told apart by their iteration."""

from __future__ import annotations

import collections
import json
from types import SimpleNamespace
from typing import Any

import kfp_server_api as api
import pytest

from radiograft_pipelines.cluster.loops import loop_iterations
from tests.helpers.recordings import read_recording


def _recorded_run() -> Any:
    answer = SimpleNamespace(data=json.dumps(read_recording("run_named_in_the_ui_two_workers")))
    return api.ApiClient(api.Configuration()).deserialize(answer, "V2beta1Run")


def test_loop_iterations_recorded_run_distinguishes_workers() -> None:
    """Fails if the IDs of Argo's nodes are made in another way: then no task can be assigned to its iteration."""
    run = _recorded_run()
    iterations = loop_iterations(run)
    found = {
        task.child_tasks[0].pod_name.rpartition("-")[2]: iterations.get(task.task_id)
        for task in run.run_details.task_details
        if task.display_name == "preprocess"
    }
    assert found == {"1681480927": 1, "253369683": 0}  # by the ID of the first attempt


def test_loop_iterations_other_tasks_have_none() -> None:
    run = _recorded_run()
    iterations = loop_iterations(run)
    names = {task.task_id: task.display_name for task in run.run_details.task_details}
    counts = collections.Counter(names[task_id] for task_id in iterations)
    assert counts["preprocess"] == 2
    assert not counts.keys() & {"ingest", "list-workers", "collect-shards", "fine-tune", "evaluate", "publish", "root"}


@pytest.mark.parametrize("details", [None, api.V2beta1RunDetails(task_details=[])], ids=["none", "empty"])
def test_loop_iterations_no_tasks_is_empty(details: Any) -> None:
    assert loop_iterations(api.V2beta1Run(run_details=details)) == {}
