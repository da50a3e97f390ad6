"""Tasks of a loop are distinguished by their iteration."""

from __future__ import annotations

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


def _iterations(run: Any, name: str) -> dict[str, str]:
    """Returns the iterations of the tasks with a name, by the number in the ID of their first child."""
    iterations = loop_iterations(run)
    tasks = [task for task in run.run_details.task_details if task.display_name == name]
    return {task.child_tasks[0].pod_name.rpartition("-")[2]: str(iterations.get(task.task_id)) for task in tasks}


def test_loop_iterations_recorded_run_distinguishes_workers() -> None:
    """Fails if the IDs of Argo's nodes are made in another way: then no task can be assigned to its iteration."""
    assert _iterations(_recorded_run(), "preprocess") == {"253369683": "1 of 2", "1681480927": "2 of 2"}


def test_loop_iterations_other_tasks_have_none() -> None:
    run = _recorded_run()
    for name in ("ingest", "list-workers", "collect-shards", "fine-tune", "evaluate", "publish", "root"):
        assert list(_iterations(run, name).values()) == ["None"]


def test_loop_iterations_one_worker_has_none() -> None:
    run = _recorded_run()
    iterations = ("iteration-iterations(1:1)", "iteration-iterations(1:1)(0)")
    run.run_details.task_details = [
        task for task in run.run_details.task_details if task.display_name not in iterations
    ]
    assert loop_iterations(run) == {}


@pytest.mark.parametrize("details", [None, api.V2beta1RunDetails(task_details=[])], ids=["none", "empty"])
def test_loop_iterations_no_tasks_is_empty(details: Any) -> None:
    assert loop_iterations(api.V2beta1Run(run_details=details)) == {}
