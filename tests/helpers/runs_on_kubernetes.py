"""Manifests of pods, events and workflows of a blocked or failed run, as Kubernetes and Argo report them."""

from __future__ import annotations

import json
import zlib
from typing import Any

RUN = "11111111-2222-3333-4444-555555555555"
WORKFLOW = "radiograft-transfer-learning-x7k2p"
READY = {"type": "PodScheduled", "status": "True"}


def pod(task: str, status: dict[str, Any], run_id: str = RUN, node: str = "executor(0)") -> str:
    """Returns the pod of a task with this status; of its driver if `node` is empty."""
    labels = {"pipeline/runid": run_id, **({"app.kubernetes.io/component": task} if node else {})}
    return json.dumps(
        {
            "kind": "Pod",
            "metadata": {
                "name": pod_name(task, node),
                "namespace": "kubeflow",
                "labels": labels,
                "annotations": {
                    "workflows.argoproj.io/node-name": f"{WORKFLOW}(0).root(0)."
                    + (f"{task}(0).{node}" if node else f"{task}-driver(0)")
                },
            },
            "status": status,
        }
    )


def pod_name(task: str, node: str = "executor(0)") -> str:
    """Returns the name of a task's pod."""
    number = zlib.crc32(f"{task} {node}".encode())
    return f"{WORKFLOW}-" + (f"system-container-impl-{number}" if node else f"system-container-driver-{number}")


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
            "involvedObject": {"kind": "Pod", "name": pod_name(task)},
            "type": "Warning",
            "reason": reason,
            "message": message,
        }
    )


def workflow(task: str, phase: str, message: str, spec: dict[str, Any] | None = None) -> str:
    """Returns the run's Argo workflow, in which the node of a task's only attempt has this message."""
    dag = {"name": f"{WORKFLOW}(0)", "type": "DAG", "phase": "Running", "message": "child failed: exceeded quota: dag"}
    nodes = [dag, node(task, phase, message), node("ingest", "Succeeded", "")]
    return workflow_of(nodes, spec or {})


def workflow_of(nodes: list[dict[str, Any]], spec: dict[str, Any], run_id: str = RUN) -> str:
    """Returns an Argo workflow with these nodes."""
    metadata = {"name": WORKFLOW, "namespace": "kubeflow", "labels": {"pipeline/runid": run_id}}
    numbered = {f"{WORKFLOW}-{number}": each for number, each in enumerate(nodes)}
    return json.dumps({"kind": "Workflow", "metadata": metadata, "spec": spec, "status": {"nodes": numbered}})


def node(task: str, phase: str, message: str, attempt: int = 0) -> dict[str, Any]:
    """Returns Argo's node of one attempt of a task."""
    name = f"{WORKFLOW}(0).root(0).{task}(0).executor({attempt})"
    return {"name": name, "type": "Pod", "phase": phase, "message": message}


def _pending(conditions: list[dict[str, Any]], states: list[dict[str, Any]]) -> dict[str, Any]:
    return {"phase": "Pending", "conditions": conditions, "containerStatuses": [_container(each) for each in states]}


def _container(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
