"""Recorded runs of a real KFP are watched: the lines that follow them, and the table of their tasks."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import kfp_server_api
import pytest
from rich.console import Console

from radiograft_pipelines.cluster import kfp_client, kubernetes_client, watch
from radiograft_pipelines.cluster.kfp_client import KfpClient
from tests.helpers.http_double import serve
from tests.helpers.kubernetes_double import KubernetesDouble
from tests.helpers.recorded_runs import RecordedKfp, recorded_objects, replay
from tests.helpers.recordings import read_recorded_log
from tests.helpers.runs_on_kubernetes import RUN, failed, node, pod, unschedulable, workflow, workflow_of

Cluster = Callable[..., KubernetesDouble]
Connect = Callable[[list[dict[str, Any]]], KfpClient]
NO_BUCKET = (
    "ingest: components.storage.contract.StoreError: there is no bucket s3://nosuchbucket at "
    "http://seaweedfs.kubeflow:9000, asked for s3://nosuchbucket/x"
)
NO_GPUS = (
    "ingest: Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, "
    "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A function that serves the moments of a recorded run and returns a client."""
    with ExitStack() as stack:

        def serve_moments(moments: list[dict[str, Any]]) -> KfpClient:
            double = stack.enter_context(serve(RecordedKfp(moments)))
            return kfp_client.connect(double.url, "kubeflow", 5.0)

        yield serve_moments


def _follow(server: KfpClient, run_id: str) -> list[str]:
    """Returns the lines printed while a run is watched, with single spaces."""
    output = io.StringIO()
    cluster = kubernetes_client.connect("kubeflow")
    watch.watch_run(server, cluster, run_id, Console(file=output, soft_wrap=True, width=200), 0.0)
    return [" ".join(line.split()) for line in output.getvalue().splitlines()]


def _serve_failed_pods(cluster: Cluster) -> KubernetesDouble:
    double = cluster(*recorded_objects("pods_failed_no_such_bucket"))
    double.logs[double.objects[0]["metadata"]["name"]] = read_recorded_log("failed_task")
    return double


def test_watch_run_recorded_success_prints_each_change(connect: Connect, cluster: Cluster) -> None:
    cluster(*recorded_objects("pods_succeeded"))
    moments = replay("run_succeeded")
    assert _follow(connect(moments), moments[0]["run_id"]) == [
        *("ingest running", "ingest succeeded", "list-workers running", "list-workers succeeded"),
        *("preprocess running", "preprocess succeeded", "collect-shards running", "collect-shards succeeded"),
        *("extract-features running", "extract-features succeeded", "fine-tune running", "fine-tune succeeded"),
        *("evaluate running", "evaluate succeeded", "publish running", "publish succeeded"),
        "task state time",
        "ingest succeeded 0:00:20",
        "list-workers succeeded 0:00:10",
        "preprocess succeeded 0:00:21",
        "collect-shards succeeded 0:00:20",
        "extract-features succeeded 0:00:32",
        "fine-tune succeeded 0:00:36",
        "evaluate succeeded 0:00:39",
        "publish succeeded 0:00:11",
    ]


def test_watch_run_recorded_failure_prints_backoff_and_exception(connect: Connect, cluster: Cluster) -> None:
    """During the backoff, KFP reports the task as running, and its pod has failed."""
    _serve_failed_pods(cluster)
    moments = replay("run_failed_no_such_bucket")
    assert _follow(connect(moments[3:]), moments[0]["run_id"]) == [
        "ingest failed, in backoff",
        NO_BUCKET,
        "ingest failed",
        "task state time",
        "ingest failed 0:01:20",
    ]


def test_watch_run_nothing_new_prints_ingest_only(connect: Connect, cluster: Cluster) -> None:
    cluster()
    moments = replay("run_skipped_nothing_new")
    assert _follow(connect(moments), moments[0]["run_id"]) == [
        "ingest running",
        "ingest succeeded",
        "task state time",
        "ingest succeeded 0:00:10",
    ]


def _terminated_run() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the moments of a run until a user terminated it while evaluate was running, and after it was retried."""
    moments = replay("run_terminated_then_retried")
    end = [moment["state"] for moment in moments].index("FAILED") + 1
    return moments[:end], moments[end:]


def test_watch_run_terminated_shows_cached_task(connect: Connect, cluster: Cluster) -> None:
    cluster()  # KFP has deleted the pods
    moments, _ = _terminated_run()
    server = connect(moments)
    lines = _follow(server, moments[0]["run_id"])
    assert lines[: lines.index("task state time")] == [
        *("ingest running", "ingest succeeded", "list-workers cached", "preprocess running", "preprocess succeeded"),
        *("collect-shards running", "collect-shards succeeded", "extract-features running"),
        *("extract-features succeeded", "fine-tune running", "fine-tune succeeded", "evaluate running"),
        *("evaluate failed", "publish pending"),
    ]
    assert "list-workers cached 0:00:00" in lines
    run = watch.read_run(server, moments[0]["run_id"])
    assert (run.state, watch.is_terminated(run)) == ("FAILED", True)


@pytest.mark.parametrize("spec", [{"activeDeadlineSeconds": 0}, {}])
def test_watch_run_terminated_is_no_timeout(connect: Connect, cluster: Cluster, spec: dict[str, object]) -> None:
    """Argo's workflow or KFP's history of the run states that it was terminated."""
    moments = _terminated_run()[0][-2:]
    assert [moment["state"] for moment in moments] == ["CANCELING", "FAILED"]
    run_id = moments[0]["run_id"]
    cluster(workflow_of([node("evaluate", "Failed", "Step exceeded its deadline")], spec, run_id))
    lines = _follow(connect(moments), run_id)
    assert lines[lines.index("evaluate terminated") :][:4] == [
        "evaluate terminated",
        "evaluate: the run was terminated",
        "→ resume it with radiograft retry",
        "publish pending",
    ]
    assert "evaluate terminated 0:00:11" in lines
    assert not [line for line in lines if "timeout" in line]


def test_watch_run_retried_after_termination_prints_each_change(connect: Connect, cluster: Cluster) -> None:
    cluster(*recorded_objects("pods_terminated_then_retried"))
    _, moments = _terminated_run()
    lines = _follow(connect(moments), moments[0]["run_id"])
    assert lines[lines.index("evaluate running") : lines.index("task state time")] == [
        *("evaluate running", "publish pending", "evaluate succeeded", "publish running", "publish succeeded")
    ]
    assert lines[-8:] == [
        "ingest succeeded 0:00:11",
        "list-workers cached 0:00:00",
        "preprocess succeeded 0:00:20",
        "collect-shards succeeded 0:00:21",
        "extract-features succeeded 0:00:30",
        "fine-tune succeeded 0:04:06",
        "evaluate succeeded 0:00:48",
        "publish succeeded 0:00:20",
    ]


def test_show_board_unschedulable_pod_is_blocked(connect: Connect, cluster: Cluster) -> None:
    cluster(*recorded_objects("pods_held_no_gpus"))
    moments = replay("run_held_no_gpus")
    run = watch.read_run(connect(moments[-1:]), moments[-1]["run_id"])
    output = io.StringIO()
    watch.show_board(run, kubernetes_client.connect("kubeflow"), Console(file=output, soft_wrap=True, width=200))
    header, row, *issue = output.getvalue().splitlines()
    assert (header.split(), row.split()[:2]) == (["task", "state", "time"], ["ingest", "blocked"])
    assert issue == [
        NO_GPUS,
        "  → no node has enough free GPUs: add a node with two nvidia.com/gpu, or wait for other pods to end",
    ]


@pytest.mark.parametrize(
    ("pods", "state"),
    [
        ([pod("fine-tune", failed("Error", 1))], "failed, in backoff"),
        ([pod("fine-tune", failed("Error", 1)), pod("fine-tune", {"phase": "Running"}, node="executor(1)")], "running"),
        ([workflow("fine-tune", "Error", "pod deleted")], "failed, in backoff"),
        ([pod("fine-tune", unschedulable("0/1 nodes"))], "blocked"),
        ([], "running"),
    ],
)
def test_show_board_running_task_shows_state_of_last_attempt(cluster: Cluster, pods: list[str], state: str) -> None:
    cluster(*pods)
    task = kfp_server_api.V2beta1PipelineTaskDetail(display_name="fine-tune", state="RUNNING")
    run = kfp_server_api.V2beta1Run(
        run_id=RUN, state="RUNNING", run_details=kfp_server_api.V2beta1RunDetails(task_details=[task])
    )
    output = io.StringIO()
    watch.show_board(run, kubernetes_client.connect("kubeflow"), Console(file=output, soft_wrap=True, width=200))
    assert " ".join(output.getvalue().splitlines()[1].split()) == f"fine-tune {state} 0:00:00"


@pytest.mark.parametrize(
    ("history", "terminated"),
    [
        (["PENDING", "RUNNING", "CANCELING", "FAILED"], True),
        (["RUNNING", "CANCELING", None, "FAILED", "FAILED"], True),
        (["PENDING", "RUNNING", "CANCELING"], True),
        (["RUNNING", "CANCELED"], True),
        (["PENDING", "RUNNING", "FAILED"], False),
        (["RUNNING", "CANCELING", "FAILED", "RUNNING"], False),
        (["RUNNING", "CANCELING", "FAILED", "RUNNING", "FAILED"], False),
    ],
)
def test_is_terminated_reads_history(history: list[str | None], terminated: bool) -> None:
    entries = [kfp_server_api.V2beta1RuntimeStatus(state=each) for each in history]
    run = kfp_server_api.V2beta1Run(state=history[-1], state_history=entries)
    assert watch.is_terminated(run) is terminated
