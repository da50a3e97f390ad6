"""What holds a run: read from its pods, their events and Argo's workflow, for KFP itself says nothing of it."""

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

# What Kubernetes and Argo say, and what mends it; groups of the pattern fill {0}, {1}.
REMEDIES = (
    (r'configmaps? "([^"]+)" not found', "create the config map {0} in the run's namespace (manifests/base has it)"),
    (r'secrets? "([^"]+)" not found', "create the secret {0} in the run's namespace"),
    (r'serviceaccounts? "([^"]+)" not found', "create the service account {0}, or give another with --service-account"),
    (r'persistentvolumeclaims? "([^"]+)" not found', "create the persistent volume claim {0}"),
    (r"couldn't find key (\S+) in", "add the key {0} to it"),
    (r"exceeded quota: ([\w.-]+)", "raise the resource quota {0}, or wait until other pods have ended and retry"),
    (
        r"failed quota: ([\w.-]+): must specify",
        "give the namespace a LimitRange with default requests and limits, which KFP's own containers lack",
    ),
    (r"violates PodSecurity", "the namespace demands more than the pod has: compile with this package's pipelines"),
    (r"quantities must match|unable to parse quantity", "write quantities as Kubernetes does: 500m, 8, 16Gi"),
    (
        r"InvalidImageName|ErrImageNeverPull|ErrImagePull|ImagePullBackOff|Failed to pull image",
        "check the image's name and digest, and that the nodes may pull it (an image pull secret)",
    ),
    (
        r"Insufficient nvidia\.com/gpu",
        "no node has the GPUs free: add one with two nvidia.com/gpu, or wait for other pods",
    ),
    (r"Insufficient (cpu|memory|ephemeral-storage|pods)", "no node has enough {0} free: add a larger node, or wait"),
    (r"untolerated taint \{([^:}]+)", "tolerate the taint {0} of the nodes"),
    (r"didn't match Pod's node affinity/selector", "label a node as the node selector asks, or change the selector"),
    (r"Unschedulable|FailedScheduling", "no node takes the pod: kubectl describe nodes"),
    (r"OOMKilled", "it needed more memory than its limit: lower train_batch_size or image_size, or raise the limit"),
    (
        r"DeadlineExceeded|longer than the specified deadline|exceeded its deadline",
        "it took longer than its time-out: go on from its checkpoint with radiograft retry",
    ),
    (r"Evicted|Preempt|NodeLost|node shutdown", "its node gave it up: radiograft retry goes on"),
    (r"FailedMount|FailedAttachVolume", "a volume cannot be mounted: kubectl describe pod"),
    (r"CreateContainer|RunContainerError|CrashLoopBackOff", "the container does not start: kubectl describe pod"),
)  # fmt: skip


class PodIssue(NamedTuple):
    """What keeps a task from going on or ended it, in the cluster's words, and what mends it (empty: not known)."""

    task: str
    said: str
    remedy: str


def diagnose_pods(cluster: KubernetesClient, run_id: str) -> list[PodIssue]:
    """Everything that holds or ended a run's tasks; nothing where all is well.

    Raises:
        ClusterError: pods cannot be read.
    """
    label = f"{RUN_LABEL}={run_id}"
    pods = cluster.listed("pods", cluster.core.list_namespaced_pod, cluster.namespace, label_selector=label)
    said = [(_task(pod), words) for pod in pods for words in _of_pod(cluster, pod)]
    said += _of_workflow(cluster, label)
    found: dict[tuple[str, str], PodIssue] = {}
    for task, words in said:
        hold = PodIssue(task, words, remedy(words))
        found.setdefault((task, hold.remedy), hold)
    return list(found.values())


def remedy(said: str) -> str:
    """What mends what Kubernetes or Argo said; empty where that is not known."""
    for pattern, text in REMEDIES:
        if found := re.search(pattern, said):
            return text.format(*found.groups())
    return ""


def _task(pod: Any) -> str:
    """The task's name in the pipeline: our label, or out of Argo's name for the node."""
    if task := (pod.metadata.labels or {}).get(TASK_LABEL):
        return str(task)
    return _task_of_node((pod.metadata.annotations or {}).get(NODE_NAME, pod.metadata.name))


def _task_of_node(name: str) -> str:
    """`fine-tune` out of `workflow.root.fine-tune.executor(0)` or `workflow.root.fine-tune-driver`."""
    parts = [part.partition("(")[0] for part in name.split(".")]
    named = [part for part in parts if part not in ("executor", "driver", "root")]
    return named[-1].removesuffix("-driver") if named else name


def _of_pod(cluster: KubernetesClient, pod: Any) -> Iterator[str]:
    status = pod.status
    if status.phase == "Succeeded":
        return
    if status.reason:
        yield _joined(status.reason, status.message)
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            yield _joined(condition.reason, condition.message)
    for container in [*(status.init_container_statuses or ()), *(status.container_statuses or ())]:
        yield from _of_container(container)
    if status.phase == "Pending":
        yield from _of_events(cluster, pod)
    if status.phase == "Failed":
        yield from _of_log(cluster, pod)


def _of_container(container: Any) -> Iterator[str]:
    waiting, ended = container.state.waiting, container.state.terminated
    if waiting and (waiting.reason or "") not in NORMAL_WAITING_REASONS:
        yield _joined(waiting.reason, waiting.message)
    if ended and ended.reason == "OOMKilled":
        yield _joined(ended.reason, f"exit code {ended.exit_code}")


def _of_events(cluster: KubernetesClient, pod: Any) -> Iterator[str]:
    events = cluster.listed(
        "events",
        cluster.core.list_namespaced_event,
        cluster.namespace,
        field_selector=f"involvedObject.name={pod.metadata.name},type=Warning",
    )
    for event in events:
        yield _joined(event.reason, event.message)


def _of_log(cluster: KubernetesClient, pod: Any) -> Iterator[str]:
    """The last exception in a failed pod's log, or what the driver could not make sense of."""
    try:
        log = cluster.call(
            "logs", cluster.core.read_namespaced_pod_log, pod.metadata.name, cluster.namespace,
            container="main", tail_lines=LOG_LINES,
        )  # fmt: skip
    except (ClusterError, LookupError):
        return  # the pod or its log is gone
    raised = EXCEPTION.findall(log)
    wrong = [line.strip() for line in log.splitlines() if "quantities must match" in line]
    yield from (raised or wrong)[-1:]


def _of_workflow(cluster: KubernetesClient, label: str) -> list[tuple[str, str]]:
    """What Argo says of nodes whose pods it could not create or that took too long."""
    try:
        found = cluster.objects("argoproj.io", "v1alpha1", cluster.namespace, "workflows", label_selector=label)
    except (ClusterError, LookupError):
        return []  # the pods have been read; some users may not read Argo's objects
    nodes = [node for workflow in found for node in workflow.get("status", {}).get("nodes", {}).values()]
    return [
        (_task_of_node(node["name"]), node["message"])
        for node in nodes
        if node.get("type") == "Pod" and node.get("message") and remedy(node["message"])
    ]


def _joined(reason: str | None, message: str | None) -> str:
    return ": ".join(part for part in (reason, message) if part)
