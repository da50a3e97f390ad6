"""Finds what blocks a run's tasks or made them fail, in its pods, their events and logs, and Argo's workflow.

KFP itself does not report why a pod cannot start or why a task failed. A task that KFP took from its cache has no pod.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar

from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.remedies import TERMINATED, remedy
from radiograft_pipelines.cluster.task_log import failure_reason

Item = TypeVar("Item")
RUN_LABEL = "pipeline/runid"
TASK_LABEL = "app.kubernetes.io/component"
NODE_NAME = "workflows.argoproj.io/node-name"
NORMAL_WAITING_REASONS = ("", "ContainerCreating", "PodInitializing", "Completed")
ATTEMPT = re.compile(r"\((\d+)\)$")  # the end of Argo's name of a node: the number of the attempt
LOG_LINES = 400  # the launcher's last lines, and a long traceback
# KFP terminates a run by setting its deadline to 0; Argo's own tools shut it down with a strategy.
DEADLINE_OF_RUN = "Step exceeded its deadline"
SHUTDOWN = re.compile(r"(?:shutdown|[Ss]topped) with strategy")


class PodIssue(NamedTuple):
    """What blocks a task or made it fail.

    Attributes:
        task: name of the task.
        message: the message of Kubernetes, Argo or the task.
        remedy: how to fix it; empty if unknown.
        state: whether the task cannot start, has failed, or was ended because a user terminated the run.
    """

    task: str
    message: str
    remedy: str
    state: Literal["blocked", "failed", "terminated"]


def diagnose_pods(cluster: KubernetesClient, run_id: str, *, terminated: bool = False) -> list[PodIssue]:
    """Returns what blocks a run's tasks or made them fail, one issue per task and remedy.

    Of a task that was retried, only the last attempt counts.

    Args:
        terminated: whether KFP reports that a user terminated the run. A task that then reached the run's deadline did
            not time out.

    Raises:
        ClusterError: pods cannot be read.
    """
    label = f"{RUN_LABEL}={run_id}"
    pods = cluster.list_items("pods", cluster.core.list_namespaced_pod, cluster.namespace, label_selector=label)
    workflows = _list_workflows(cluster, label)
    terminated = terminated or any(_is_terminated(workflow) for workflow in workflows)
    found = [
        (_task_name(pod), message, pod.status.phase == "Failed")
        for pod in _last_attempts(pods, _node_name)
        for message in _pod_messages(cluster, pod, terminated)
    ]
    issues: dict[tuple[str, str], PodIssue] = {}
    for task, message, failed in [*found, *_workflow_messages(workflows, terminated)]:
        issue = _issue(task, message, failed)
        issues.setdefault((task, issue.remedy or issue.message), issue)
    return list(issues.values())


def _issue(task: str, message: str, failed: bool) -> PodIssue:
    state: Literal["blocked", "failed", "terminated"] = "failed" if failed else "blocked"
    return PodIssue(task, message, remedy(message), "terminated" if message == TERMINATED else state)


def _last_attempts(items: Iterable[Item], node_name: Callable[[Item], str]) -> list[Item]:
    """Returns the items without those of which a later attempt exists: `executor(1)` replaces `executor(0)`."""

    def attempt(item: Item) -> int:
        match = ATTEMPT.search(node_name(item))
        return int(match[1]) if match else 0

    last = {ATTEMPT.sub("", node_name(item)): item for item in sorted(items, key=attempt)}
    return list(last.values())


def _node_name(pod: Any) -> str:
    return str((pod.metadata.annotations or {}).get(NODE_NAME, pod.metadata.name))


def _task_name(pod: Any) -> str:
    """Returns the name of a pod's task, from its label or else from Argo's node name."""
    return str((pod.metadata.labels or {}).get(TASK_LABEL) or _task_of_node(_node_name(pod)))


def _task_of_node(name: str) -> str:
    """Extracts `fine-tune` from `workflow(0).root(0).fine-tune(0).executor(0)` or `workflow.root.fine-tune-driver`."""
    parts = [part.partition("(")[0] for part in name.split(".")]
    tasks = [part for part in parts if part not in ("executor", "driver", "root")]
    return tasks[-1].removesuffix("-driver") if tasks else name


def _pod_messages(cluster: KubernetesClient, pod: Any, terminated: bool) -> Iterator[str]:
    status = pod.status
    if status.phase == "Succeeded":
        return
    reported = list(_status_messages(status))
    yield from reported
    if status.phase == "Pending":
        yield from _event_messages(cluster, pod)
    if status.phase == "Failed" and not reported and (message := _failure_message(cluster, pod, terminated)):
        yield message


def _status_messages(status: Any) -> Iterator[str]:
    if status.reason:
        yield _join(status.reason, status.message)
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            yield _join(condition.reason, condition.message)
    for container in [*(status.init_container_statuses or ()), *(status.container_statuses or ())]:
        yield from _container_messages(container)


def _container_messages(container: Any) -> Iterator[str]:
    waiting, terminated = container.state.waiting, container.state.terminated
    if waiting and (waiting.reason or "") not in NORMAL_WAITING_REASONS:
        yield _join(waiting.reason, waiting.message)
    if terminated and terminated.reason == "OOMKilled":
        yield _join(terminated.reason, f"exit code {terminated.exit_code}")


def _event_messages(cluster: KubernetesClient, pod: Any) -> Iterator[str]:
    events = cluster.list_items(
        "events",
        cluster.core.list_namespaced_event,
        cluster.namespace,
        field_selector=f"involvedObject.name={pod.metadata.name},type=Warning",
    )
    for event in events:
        yield _join(event.reason, event.message)


def _failure_message(cluster: KubernetesClient, pod: Any, terminated: bool) -> str:
    """Returns why a pod failed that Kubernetes did not end: the exception in its log, or else its exit code."""
    name, log = pod.metadata.name, _read_log(cluster, pod.metadata.name)
    reason = failure_reason(log or "")
    if terminated and (not reason or reason.startswith("signal: ")):
        return TERMINATED
    states = [container.state.terminated for container in pod.status.container_statuses or ()]
    codes = [state.exit_code for state in states if state and state.exit_code]
    if reason or not codes:
        return reason
    if log is None:
        return f"exit code {codes[0]}; the log of the pod {name} cannot be read"
    return f"exit code {codes[0]}, and no exception in the log of the pod {name}"


def _read_log(cluster: KubernetesClient, pod_name: str) -> str | None:
    """Returns the end of a task's log; None if the pod or its log no longer exists, or may not be read."""
    read = cluster.core.read_namespaced_pod_log
    try:
        return str(cluster.call("logs", read, pod_name, cluster.namespace, container="main", tail_lines=LOG_LINES))
    except (ClusterError, LookupError):
        return None


def _list_workflows(cluster: KubernetesClient, label: str) -> list[dict[str, Any]]:
    """Returns Argo's workflow of the run; nothing for users who may not read it: the pods are diagnosed without."""
    try:
        return cluster.list_custom_objects(
            "argoproj.io", "v1alpha1", cluster.namespace, "workflows", label_selector=label
        )
    except (ClusterError, LookupError):
        return []


def _is_terminated(workflow: dict[str, Any]) -> bool:
    """Returns whether a user terminated the run: KFP sets its deadline to 0, and Argo's own tools set `shutdown`."""
    spec = workflow.get("spec", {})
    return bool(spec.get("shutdown")) or spec.get("activeDeadlineSeconds") == 0


def _workflow_messages(workflows: list[dict[str, Any]], terminated: bool) -> Iterator[tuple[str, str, bool]]:
    """Yields task, message and whether it failed, of nodes whose pods could not be created or that met a deadline."""
    nodes = [node for workflow in workflows for node in workflow.get("status", {}).get("nodes", {}).values()]
    for node in _last_attempts((node for node in nodes if node.get("type") == "Pod"), lambda node: str(node["name"])):
        message = str(node.get("message", ""))
        if SHUTDOWN.search(message) or (terminated and message == DEADLINE_OF_RUN):
            message = TERMINATED
        if message and remedy(message):
            yield _task_of_node(node["name"]), message, node.get("phase") in ("Failed", "Error")


def _join(reason: str | None, message: str | None) -> str:
    return ": ".join(part for part in (reason, message) if part)
