"""Finds what blocks a run, in its pods, their events and Argo's workflow.

KFP itself does not report why a pod cannot start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient

RUN_LABEL = "pipeline/runid"
TASK_LABEL = "app.kubernetes.io/component"
NODE_NAME = "workflows.argoproj.io/node-name"
NORMAL_WAITING_REASONS = ("", "ContainerCreating", "PodInitializing", "Completed")
LOG_LINES = 60
EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit): .+", re.MULTILINE)

# Patterns of messages of Kubernetes and Argo, each with its remedy. The pattern's groups fill {0}, {1}.
REMEDIES = (
    (r'configmaps? "([^"]+)" not found', "create the config map {0} in the run's namespace (manifests/base has it)"),
    (r'secrets? "([^"]+)" not found', "create the secret {0} in the run's namespace"),
    (r'serviceaccounts? "([^"]+)" not found', "create the service account {0}, or name another with --service-account"),
    (r'persistentvolumeclaims? "([^"]+)" not found', "create the persistent volume claim {0}"),
    (r"couldn't find key (\S+) in", "add the key {0} to the config map or secret"),
    (r"exceeded quota: ([\w.-]+)", "raise the resource quota {0}, or wait until other pods have ended and retry"),
    (
        r"failed quota: ([\w.-]+): must specify",
        "add a LimitRange with default requests and limits to the namespace: KFP's own containers declare none",
    ),
    (r"violates PodSecurity", "the namespace rejects the pod: use the pipelines that this package compiles"),
    (r"quantities must match|unable to parse quantity", "write quantities in Kubernetes's notation: 500m, 8, 16Gi"),
    (
        r"InvalidImageName|ErrImageNeverPull|ErrImagePull|ImagePullBackOff|Failed to pull image",
        "check the image's name and digest, and the image pull secret",
    ),
    (
        r"Insufficient nvidia\.com/gpu",
        "no node has enough free GPUs: add a node with two nvidia.com/gpu, or wait for other pods to end",
    ),
    (r"Insufficient (cpu|memory|ephemeral-storage|pods)", "no node has enough free {0}: add a larger node, or wait"),
    (r"untolerated taint \{([^:}]+)", "add a toleration for the taint {0} of the nodes"),
    (r"didn't match Pod's node affinity/selector", "label a node to match the node selector, or change the selector"),
    (r"Unschedulable|FailedScheduling", "no node can run the pod: see kubectl describe nodes"),
    (r"OOMKilled", "the task exceeded its memory limit: lower train_batch_size or image_size, or raise the limit"),
    (
        r"DeadlineExceeded|longer than the specified deadline|exceeded its deadline",
        "the task exceeded its timeout: resume it from its checkpoint with radiograft retry",
    ),
    (r"Evicted|Preempt|NodeLost|node shutdown", "the node evicted the pod: resume the run with radiograft retry"),
    (r"FailedMount|FailedAttachVolume", "a volume cannot be mounted: see kubectl describe pod"),
    (r"CreateContainer|RunContainerError|CrashLoopBackOff", "the container does not start: see kubectl describe pod"),
)  # fmt: skip


class PodIssue(NamedTuple):
    """What blocks a task or made it fail.

    Attributes:
        task: name of the task.
        message: the message of Kubernetes, Argo or the task.
        remedy: how to fix it; empty if unknown.
    """

    task: str
    message: str
    remedy: str


def diagnose_pods(cluster: KubernetesClient, run_id: str) -> list[PodIssue]:
    """Returns what blocks a run's tasks or made them fail, one issue per task and remedy.

    Raises:
        ClusterError: pods cannot be read.
    """
    label = f"{RUN_LABEL}={run_id}"
    pods = cluster.list_items("pods", cluster.core.list_namespaced_pod, cluster.namespace, label_selector=label)
    messages = [(_task_name(pod), message) for pod in pods for message in _pod_messages(cluster, pod)]
    messages += _workflow_messages(cluster, label)
    issues: dict[tuple[str, str], PodIssue] = {}
    for task, message in messages:
        issue = PodIssue(task, message, remedy(message))
        issues.setdefault((task, issue.remedy), issue)
    return list(issues.values())


def remedy(message: str) -> str:
    """Returns the remedy for a message of Kubernetes or Argo; empty if unknown."""
    for pattern, text in REMEDIES:
        if match := re.search(pattern, message):
            return text.format(*match.groups())
    return ""


def _task_name(pod: Any) -> str:
    """Returns the name of a pod's task, from its label or else from Argo's node name."""
    if task := (pod.metadata.labels or {}).get(TASK_LABEL):
        return str(task)
    return _task_of_node((pod.metadata.annotations or {}).get(NODE_NAME, pod.metadata.name))


def _task_of_node(name: str) -> str:
    """Extracts `fine-tune` from `workflow.root.fine-tune.executor(0)` or `workflow.root.fine-tune-driver`."""
    parts = [part.partition("(")[0] for part in name.split(".")]
    tasks = [part for part in parts if part not in ("executor", "driver", "root")]
    return tasks[-1].removesuffix("-driver") if tasks else name


def _pod_messages(cluster: KubernetesClient, pod: Any) -> Iterator[str]:
    status = pod.status
    if status.phase == "Succeeded":
        return
    if status.reason:
        yield _join(status.reason, status.message)
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            yield _join(condition.reason, condition.message)
    for container in [*(status.init_container_statuses or ()), *(status.container_statuses or ())]:
        yield from _container_messages(container)
    if status.phase == "Pending":
        yield from _event_messages(cluster, pod)
    if status.phase == "Failed":
        yield from _log_messages(cluster, pod)


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


def _log_messages(cluster: KubernetesClient, pod: Any) -> Iterator[str]:
    """Yields the last exception in a failed pod's log, or the quantity that KFP's driver could not parse."""
    try:
        log = cluster.call(
            "logs", cluster.core.read_namespaced_pod_log, pod.metadata.name, cluster.namespace,
            container="main", tail_lines=LOG_LINES,
        )  # fmt: skip
    except (ClusterError, LookupError):
        return  # the pod or its log no longer exists
    exceptions = EXCEPTION.findall(log)
    invalid_quantities = [line.strip() for line in log.splitlines() if "quantities must match" in line]
    yield from (exceptions or invalid_quantities)[-1:]


def _workflow_messages(cluster: KubernetesClient, label: str) -> list[tuple[str, str]]:
    """Returns Argo's messages for nodes whose pods could not be created, or that exceeded their deadline."""
    try:
        workflows = cluster.list_custom_objects(
            "argoproj.io", "v1alpha1", cluster.namespace, "workflows", label_selector=label
        )
    except (ClusterError, LookupError):
        return []  # some users may not read Argo's objects; the pods are diagnosed without them
    nodes = [node for workflow in workflows for node in workflow.get("status", {}).get("nodes", {}).values()]
    return [
        (_task_of_node(node["name"]), node["message"])
        for node in nodes
        if node.get("type") == "Pod" and node.get("message") and remedy(node["message"])
    ]


def _join(reason: str | None, message: str | None) -> str:
    return ": ".join(part for part in (reason, message) if part)
