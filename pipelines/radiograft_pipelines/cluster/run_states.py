"""States of runs in words, with the reason why a run failed, or will never end."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import KfpClient
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.pod_diagnosis import RUN_LABEL, diagnose_pods
from radiograft_pipelines.cluster.watch import ENDED, is_terminated, read_run, task_states

MAX_CONCURRENCY = 8  # runs that are examined at the same time
LOST, TERMINATED = "lost", "terminated"


class RunState(NamedTuple):
    """The state of a run in one word, and why the run is in it; the reason is empty if it needs none."""

    word: str
    reason: str = ""


def describe_states(server: KfpClient, cluster: KubernetesClient | None, runs: Sequence[Any]) -> list[RunState]:
    """Returns the states of runs (kfp_server_api.V2beta1Run), with the reasons why they failed or are lost.

    Args:
        cluster: where the runs' pods and Workflows are looked up; None if there is no access.

    Raises:
        ClusterError: KFP cannot be reached, or rejects a request.
    """

    def describe(run: Any) -> RunState:
        state = describe_state(server, cluster, run)
        return RunState(state.word, _failure(server, cluster, run)) if state.word == "failed" else state

    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        return list(pool.map(describe, runs))


def describe_state(server: KfpClient, cluster: KubernetesClient | None, run: Any) -> RunState:
    """Returns the state of a run, with the reason if it is lost. Arguments are as in `describe_states`."""
    reason = "" if run.state in ENDED else _lost_reason(server, cluster, run)
    return RunState(LOST, reason) if reason else RunState(state_word(run))


def state_word(run: Any) -> str:
    """Returns KFP's state of a run in lower case. KFP reports a run that a user terminated as failed."""
    if run.state in ENDED and is_terminated(run):
        return TERMINATED
    return str(run.state or "PENDING").lower()


def _lost_reason(server: KfpClient, cluster: KubernetesClient | None, run: Any) -> str:
    """Returns why an unfinished run will never end; empty if it may end, or if that is unknown."""
    exists = _exists(cluster, run.run_id)
    if not exists and _schedule_was_deleted(server, run):
        return "its schedule was deleted before it ended, and Kubernetes deleted its Workflow and pods with it"
    if exists is False and cluster:
        return f"its Workflow and pods no longer exist in namespace {cluster.namespace} at {cluster.host}"
    return ""


def _schedule_was_deleted(server: KfpClient, run: Any) -> bool:
    if not run.recurring_run_id:
        return False
    schedules = server.iter_items(
        "the list of schedules",
        server.schedules.recurring_run_service_list_recurring_runs,
        "recurring_runs",
        namespace=server.scope,
    )
    return all(schedule.recurring_run_id != run.recurring_run_id for schedule in schedules)


def _exists(cluster: KubernetesClient | None, run_id: str) -> bool | None:
    """Returns whether the cluster has a Workflow or a pod of a run; None if they cannot be read."""
    if cluster is None:
        return None
    label = f"{RUN_LABEL}={run_id}"
    path = ("argoproj.io", "v1alpha1", cluster.namespace, "workflows")
    try:
        pods = cluster.list_items("pods", cluster.core.list_namespaced_pod, cluster.namespace, label_selector=label)
        return bool(pods or cluster.list_custom_objects(*path, label_selector=label))
    except (ClusterError, LookupError):
        return None


def _failure(server: KfpClient, cluster: KubernetesClient | None, run: Any) -> str:
    """Returns why a run failed, from its pods, or else from KFP; only the name of the task if the pods are gone."""
    try:
        issues = diagnose_pods(cluster, run.run_id) if cluster else []
    except ClusterError:
        issues = []  # the pods cannot be read
    if issues:
        cause = next((issue for issue in issues if issue.state == "failed"), issues[0])
        return _first_line(f"{cause.task}: {cause.message}")
    if run.error and run.error.message:
        return _first_line(run.error.message)
    failed = [task.name for task in task_states(read_run(server, run.run_id)) if task.state == "FAILED"]
    return f"{failed[-1]} failed" if failed else ""


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
