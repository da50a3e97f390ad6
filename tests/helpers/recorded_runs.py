"""Recorded runs of a real KFP, replayed: what it answered at one moment after another, and the pods of the run."""

from __future__ import annotations

import datetime
import json
from typing import Any

from tests.helpers.http_double import Double, Request
from tests.helpers.recordings import read_recording

NEVER = "0001-01-01T00:00:00Z"  # Go's zero time


class RecordedKfp(Double):
    """KFP that serves one run. Each request for it returns the next moment, and then the last one again."""

    def __init__(self, moments: list[dict[str, Any]]) -> None:
        super().__init__()
        self.moments = list(moments)
        self.routes = [
            ("GET", "/apis/v2beta1/healthz", lambda _: {"multi_user": False, "pipeline_store": "database"}),
            ("GET", "/apis/v2beta1/runs/([^/:]+)", self._get_run),
        ]

    def _get_run(self, request: Request, run_id: str) -> Any:
        assert run_id == self.moments[0]["run_id"]
        return self.moments.pop(0) if len(self.moments) > 1 else self.moments[0]


def replay(name: str) -> list[dict[str, Any]]:
    """Returns a recorded run after each report of Argo's state: KFP records its changes within two seconds."""
    run = read_recording(name)
    tasks = run["run_details"]["task_details"]
    times = sorted({entry["update_time"] for item in (run, *tasks) for entry in item.get("state_history", ())})
    later = [*times[1:], NEVER]
    return [_at(run, time) for time, following in zip(times, later, strict=True) if abs(_seconds(time, following)) > 2]


def recorded_objects(name: str) -> tuple[str, ...]:
    """Returns the manifests of a recorded run's pods and their events."""
    recording = read_recording(name)
    return tuple(json.dumps(item) for item in (*recording["pods"], *recording["events"]))


def _seconds(start: str, end: str) -> float:
    return (datetime.datetime.fromisoformat(end) - datetime.datetime.fromisoformat(start)).total_seconds()


def _at(item: dict[str, Any], time: str) -> dict[str, Any]:
    """Returns a run or task as it was at a time: with the last state before it, and the tasks that existed."""
    history = [entry for entry in item.get("state_history", ()) if entry["update_time"] <= time]
    past = {name: value for name, value in item.items() if name != "state"} | {"state_history": history}
    if history and history != item["state_history"]:
        last = history[-1].get("state", "OMITTED")
        past["start_time"] = min(item.get("start_time", NEVER), history[0]["update_time"])
        past["end_time"] = NEVER if last in ("PENDING", "RUNNING") else history[-1]["update_time"]
    if history and "state" in history[-1]:
        past["state"] = history[-1]["state"]
    if "run_details" in item:
        tasks = [_at(task, time) for task in item["run_details"]["task_details"]]
        past["run_details"] = {"task_details": [task for task in tasks if task["state_history"]]}
    return past
