"""Pods, events and workflows of a run as Kubernetes and Argo describe them when something holds it."""

from __future__ import annotations

import json
from typing import Any

RUN = "11111111-2222-3333-4444-555555555555"
WORKFLOW = "radiograft-transfer-learning-x7k2p"
READY = {"type": "PodScheduled", "status": "True"}


def pod(task: str, status: dict[str, Any], run_id: str = RUN, node: str = "executor(0)") -> str:
    """A pod of a task's node with this status, as a manifest."""
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
    """The status of a scheduled pod whose container waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    return _pending([READY], [state])


def unschedulable(message: str) -> dict[str, Any]:
    """The status of a pod that no node takes."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return _pending([condition], [])


def creating() -> dict[str, Any]:
    """The status of a pod that is on its way, or whose trouble only its events tell."""
    return _pending([READY], [{"waiting": {"reason": "ContainerCreating"}}])


def failed(reason: str, exit_code: int) -> dict[str, Any]:
    """The status of a pod whose container ended badly."""
    return {
        "phase": "Failed",
        "containerStatuses": [_container({"terminated": {"reason": reason, "exitCode": exit_code}})],
    }


def event(task: str, reason: str, message: str) -> str:
    """A warning about a task's pod, as a manifest."""
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
    """Argo's workflow of the run with a node of a task that has this message, as a manifest."""
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
