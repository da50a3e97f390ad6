"""Manifests of pods, events and workflows of a blocked or failed run, as Kubernetes and Argo report them."""

from __future__ import annotations

import json
from typing import Any

RUN = "11111111-2222-3333-4444-555555555555"
WORKFLOW = "radiograft-transfer-learning-x7k2p"
READY = {"type": "PodScheduled", "status": "True"}


def pod(task: str, status: dict[str, Any], run_id: str = RUN, node: str = "executor(0)") -> str:
    """Returns the pod of a task with this status."""
    name = f"{WORKFLOW}-{task}"
    argo = f"{WORKFLOW}.root.{task}.{node}" if node else f"{WORKFLOW}.root.{task}"
    return json.dumps(
        {
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "kubeflow",
                "labels": {"pipeline/runid": run_id},
                "annotations": {"workflows.argoproj.io/node-name": argo},
            },
            "status": status,
        }
    )


def waiting(reason: str, message: str) -> dict[str, Any]:
    """Returns the status of a scheduled pod whose container is waiting."""
    state = {"waiting": {"reason": reason, "message": message}}
    return _pending([READY], [state])


def unschedulable(message: str) -> dict[str, Any]:
    """Returns the status of a pod that no node can run."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return _pending([condition], [])


def creating() -> dict[str, Any]:
    """Returns the status of a pod that is starting, or whose problem is only reported in its events."""
    return _pending([READY], [{"waiting": {"reason": "ContainerCreating"}}])


def failed(reason: str, exit_code: int) -> dict[str, Any]:
    """Returns the status of a pod whose container failed."""
    return {
        "phase": "Failed",
        "containerStatuses": [_container({"terminated": {"reason": reason, "exitCode": exit_code}})],
    }


def event(task: str, reason: str, message: str) -> str:
    """Returns a warning event of a task's pod."""
    return json.dumps(
        {
            "kind": "Event",
            "metadata": {"name": f"{task}.1", "namespace": "kubeflow"},
            "involvedObject": {"kind": "Pod", "name": f"{WORKFLOW}-{task}"},
            "type": "Warning",
            "reason": reason,
            "message": message,
        }
    )


def workflow(task: str, phase: str, message: str) -> str:
    """Returns the run's Argo workflow, in which a task's node has this message."""
    nodes = {
        "n-1": {
            "name": WORKFLOW,
            "type": "DAG",
            "phase": "Running",
            "message": "child n-2 failed: exceeded quota: dag",
        },
        "n-2": {"name": f"{WORKFLOW}.root.{task}.executor", "type": "Pod", "phase": phase, "message": message},
        "n-3": {"name": f"{WORKFLOW}.root.ingest.executor", "type": "Pod", "phase": "Succeeded", "message": ""},
    }
    metadata = {"name": WORKFLOW, "namespace": "kubeflow", "labels": {"pipeline/runid": RUN}}
    return json.dumps({"kind": "Workflow", "metadata": metadata, "status": {"nodes": nodes}})


def _pending(conditions: list[dict[str, Any]], states: list[dict[str, Any]]) -> dict[str, Any]:
    return {"phase": "Pending", "conditions": conditions, "containerStatuses": [_container(each) for each in states]}


def _container(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
