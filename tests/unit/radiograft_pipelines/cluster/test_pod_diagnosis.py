"""Pod issues are found in pods, events and Argo's workflow, each with its remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from radiograft_pipelines.cluster import kubernetes_client
from radiograft_pipelines.cluster.pod_diagnosis import PodIssue, diagnose_pods
from tests.helpers.kubernetes_double import KubernetesDouble
from tests.helpers.recorded_runs import recorded_objects
from tests.helpers.recordings import read_recorded_log
from tests.helpers.runs_on_kubernetes import (
    RUN,
    creating,
    event,
    failed,
    node,
    pod,
    pod_name,
    unschedulable,
    waiting,
    workflow,
    workflow_of,
)

Cluster = Callable[..., KubernetesDouble]
GPUS = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available"
TAINT = "0/1 nodes are available: 1 node(s) had untolerated taint {nvidia.com/gpu: present}."
QUOTA = 'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2, used: 1, limited: 2'
UNDECLARED = 'pods "x" is forbidden: failed quota: compute: must specify limits.cpu for: init,wait'
QUANTITY = "invalid podSpecPatch \"{...}\": quantities must match the regular expression '^([+-]?[0-9.]+)$'"
RESTRICTED = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
DEADLINE = "Pod was active on the node longer than the specified deadline"
FULL = "0/2 nodes are available: 2 Insufficient memory."
NO_ACCOUNT = 'error looking up service account kubeflow/trainer: serviceaccount "trainer" not found'


def _diagnosed() -> list[PodIssue]:
    return diagnose_pods(kubernetes_client.connect("kubeflow"), RUN)


def _diagnose(*manifests: str, cluster: Cluster) -> list[PodIssue]:
    cluster(*manifests)
    return _diagnosed()


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (waiting("CreateContainerConfigError", 'configmap "radiograft" not found'),
         'CreateContainerConfigError: configmap "radiograft" not found', "create the config map radiograft in the"),
        (waiting("CreateContainerConfigError", 'secret "bucket-key" not found'),
         'CreateContainerConfigError: secret "bucket-key" not found', "create the secret bucket-key in the run's"),
        (waiting("CreateContainerConfigError", "couldn't find key REGISTRY in ConfigMap kubeflow/radiograft"),
         "CreateContainerConfigError: couldn't find key REGISTRY in ConfigMap kubeflow/radiograft", "add the key R"),
        (waiting("ImagePullBackOff", 'Back-off pulling image "radiograft/trainer:0.1.0"'),
         'ImagePullBackOff: Back-off pulling image "radiograft/trainer:0.1.0"', "check the image's name and digest"),
        (waiting("InvalidImageName", "Failed to apply default image tag"),
         "InvalidImageName: Failed to apply default image tag", "check the image's name and digest"),
        (unschedulable(GPUS), f"Unschedulable: {GPUS}",
         "no node has enough free GPUs: add a node with two nvidia.com/gpu"),
        (unschedulable(TAINT), f"Unschedulable: {TAINT}", "add a toleration for the taint nvidia.com/gpu of the nodes"),
        (unschedulable(FULL), f"Unschedulable: {FULL}", "no node has enough free memory"),
        (unschedulable("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
         "Unschedulable: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
         "label a node to match the node selector"),
        (failed("OOMKilled", 137), "OOMKilled: exit code 137", "the task exceeded its memory limit"),
        ({"phase": "Failed", "reason": "DeadlineExceeded", "message": DEADLINE}, f"DeadlineExceeded: {DEADLINE}",
         "the task exceeded its timeout: resume it from its checkpoint with radiograft retry"),
        ({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
         "Evicted: The node was low on resource: memory.",
         "the node evicted the pod: resume the run with radiograft retry"),
    ],
)  # fmt: skip
def test_diagnose_pods_pod_status_returns_remedy(
    cluster: Cluster, status: dict[str, object], message: str, remedy: str
) -> None:
    (issue,) = _diagnose(pod("fine-tune", status), cluster=cluster)
    assert (issue.task, issue.message) == ("fine-tune", message)
    assert issue.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (QUOTA, "raise the resource quota gpus, or wait"),
        (UNDECLARED, "add a LimitRange with default requests and limits"),
        (QUANTITY, "write quantities in Kubernetes's notation: 500m, 8, 16Gi"),
        (RESTRICTED, "the namespace rejects the pod"),
        (NO_ACCOUNT, "create the service account trainer, or name another with --service-account"),
        ("Step exceeded its deadline", "the task exceeded its timeout"),
    ],
)
def test_diagnose_pods_workflow_message_returns_remedy(cluster: Cluster, message: str, remedy: str) -> None:
    (issue,) = _diagnose(workflow("fine-tune", "Error", message), cluster=cluster)
    assert (issue.task, issue.message) == ("fine-tune", message)
    assert issue.remedy.startswith(remedy)


def test_diagnose_pods_unmountable_volume_is_read_from_events(cluster: Cluster) -> None:
    message = 'MountVolume.SetUp failed for volume "key" : secret "bucket-key" not found'
    warning, of_others = event("publish", "FailedMount", message), event("ingest", "FailedMount", "elsewhere")
    (issue,) = _diagnose(pod("publish", creating()), warning, of_others, cluster=cluster)
    assert issue == (
        "publish", f"FailedMount: {message}", "create the secret bucket-key in the run's namespace", "blocked",
    )  # fmt: skip


def test_diagnose_pods_failed_task_returns_last_exception(cluster: Cluster) -> None:
    double = cluster(pod("ingest", failed("Error", 1)))
    double.logs[pod_name("ingest")] = (
        "Traceback (most recent call last):\n  File x\nKeyError: 'first'\n\nTraceback (most recent call last):\n"
        "  File x\nFileNotFoundError: no such object: gs://data/nih/Data_Entry_2017.csv\n"
        "F1123 09:00:00.000000      17 main.go:59] failed to execute component: exit status 1\nError: exit status 1\n"
    )
    assert _diagnosed() == [
        ("ingest", "FileNotFoundError: no such object: gs://data/nih/Data_Entry_2017.csv", "", "failed")
    ]


def test_diagnose_pods_failed_task_without_exception_returns_exit_code(cluster: Cluster) -> None:
    double, name = cluster(pod("ingest", failed("Error", 3))), pod_name("ingest")
    double.logs[name] = "epoch 3\nError: exit status 3\n"
    message = f"exit code 3, and no exception in the log of the pod {name}"
    assert _diagnosed() == [("ingest", message, f"see kubectl logs {name} --container main", "failed")]


def test_diagnose_pods_failed_task_without_log_returns_exit_code(cluster: Cluster) -> None:
    cluster(pod("ingest", failed("Error", 3)))
    message = f"exit code 3; the log of the pod {pod_name('ingest')} cannot be read"
    assert _diagnosed() == [("ingest", message, "", "failed")]


def test_diagnose_pods_killed_process_returns_memory_remedy(cluster: Cluster) -> None:
    double = cluster(pod("fine-tune", failed("Error", 1)))
    double.logs[pod_name("fine-tune")] = (
        "E1123 09:00:00.129017      16 launcher_v2.go:449] Component failed to execute successfully: signal: killed\n"
        "F1123 09:00:00.206296      16 main.go:59] failed to execute component: signal: killed\nError: exit status 1\n"
    )
    (issue,) = _diagnosed()
    assert issue.message == "signal: killed"
    assert issue.remedy.startswith("the task most likely exceeded its memory limit: lower train_batch_size")


def test_diagnose_pods_out_of_memory_ignores_exceptions_in_log(cluster: Cluster) -> None:
    double = cluster(pod("fine-tune", failed("OOMKilled", 137)))
    double.logs[pod_name("fine-tune")] = "Traceback (most recent call last):\n  File x\nTimeoutError: read again\n"
    assert [issue.message for issue in _diagnosed()] == ["OOMKilled: exit code 137"]


def test_diagnose_pods_driver_log_returns_invalid_quantity(cluster: Cluster) -> None:
    double = cluster(pod("fine-tune", failed("Error", 1), node=""))
    double.logs[pod_name("fine-tune", "")] = f"F1123 09:00:00.000000      17 main.go:90] driver: {QUANTITY}\nbye\n"
    (issue,) = _diagnosed()
    assert issue.task == "fine-tune"
    assert issue.remedy == "write quantities in Kubernetes's notation: 500m, 8, 16Gi"


TERMINATED = ("evaluate", "the run was terminated", "resume it with radiograft retry", "terminated")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"activeDeadlineSeconds": 0}, "Step exceeded its deadline"),
        ({"shutdown": "Terminate"}, "Step exceeded its deadline"),
        ({"shutdown": "Stop"}, "workflow shutdown with strategy:  Stop"),
        ({"shutdown": "Terminate"}, "Stopped with strategy 'Terminate'"),
    ],
)
def test_diagnose_pods_terminated_workflow_is_not_a_timeout(
    cluster: Cluster, spec: dict[str, object], message: str
) -> None:
    assert _diagnose(workflow("evaluate", "Failed", message, spec), cluster=cluster) == [TERMINATED]


@pytest.mark.parametrize("log", ["", "E1123 09:00:00.1 1 launcher_v2.go:449] failed: signal: terminated\n"])
def test_diagnose_pods_pod_of_terminated_run_is_terminated(cluster: Cluster, log: str) -> None:
    cluster(pod("evaluate", failed("Error", 143))).logs[pod_name("evaluate")] = log
    assert diagnose_pods(kubernetes_client.connect("kubeflow"), RUN, terminated=True) == [TERMINATED]


def test_diagnose_pods_terminated_run_keeps_exceptions_and_timeouts(cluster: Cluster) -> None:
    """A run may be terminated because a task failed or timed out."""
    timeout = {"phase": "Failed", "reason": "DeadlineExceeded", "message": DEADLINE}
    double = cluster(pod("ingest", failed("Error", 1)), pod("fine-tune", timeout))
    double.logs[pod_name("ingest")] = "Traceback (most recent call last):\n  File x\nValueError: no images\n"
    issues = diagnose_pods(kubernetes_client.connect("kubeflow"), RUN, terminated=True)
    assert [(issue.task, issue.message, issue.state) for issue in issues] == [
        ("ingest", "ValueError: no images", "failed"),
        ("fine-tune", f"DeadlineExceeded: {DEADLINE}", "failed"),
    ]


def test_diagnose_pods_deadline_of_running_workflow_is_a_timeout(cluster: Cluster) -> None:
    manifest = workflow("evaluate", "Failed", "Step exceeded its deadline", {"activeDeadlineSeconds": 3600})
    (issue,) = _diagnose(manifest, cluster=cluster)
    assert (issue.message, issue.state) == ("Step exceeded its deadline", "failed")
    assert issue.remedy.startswith("the task exceeded its timeout")


def test_diagnose_pods_only_last_attempt_counts(cluster: Cluster) -> None:
    earlier = pod("fine-tune", failed("OOMKilled", 137))
    last = pod("fine-tune", {"phase": "Running"}, node="executor(1)")
    nodes = [node("fine-tune", "Error", "pod deleted"), node("fine-tune", "Running", "", attempt=1)]
    assert _diagnose(earlier, last, workflow_of(nodes, {}), cluster=cluster) == []


def test_diagnose_pods_deleted_pod_is_reported(cluster: Cluster) -> None:
    (issue,) = _diagnose(workflow("fine-tune", "Error", "pod deleted"), cluster=cluster)
    assert (issue.task, issue.state) == ("fine-tune", "failed")
    assert issue.remedy.startswith("the pod was deleted")


def test_diagnose_pods_different_exceptions_of_a_loop_are_all_returned(cluster: Cluster) -> None:
    double = cluster(pod("preprocess", failed("Error", 1)), pod("preprocess-2", failed("Error", 1)))
    first, second = double.objects
    second["metadata"]["labels"]["app.kubernetes.io/component"] = "preprocess"
    for item, message in ((first, "shard 1"), (second, "shard 2")):
        log = f"Traceback (most recent call last):\n  File x\nValueError: {message}\n"
        double.logs[item["metadata"]["name"]] = log
    assert [(issue.task, issue.message) for issue in _diagnosed()] == [
        ("preprocess", "ValueError: shard 1"),
        ("preprocess", "ValueError: shard 2"),
    ]


NO_BUCKET = (
    "components.storage.contract.StoreError: there is no bucket s3://nosuchbucket at http://seaweedfs.kubeflow:9000"
    ", asked for s3://nosuchbucket/x"
)
NO_GPUS = (
    "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. no new claims to deallocate, preemption: 0/1 nodes are "
    "available: 1 Preemption is not helpful for scheduling."
)


@pytest.mark.parametrize(
    ("recording", "issues"),
    [
        ("succeeded", []),
        ("terminated_then_retried", []),
        ("failed_no_such_bucket", [("ingest", NO_BUCKET, "", "failed")]),
        (
            "held_no_gpus",
            [
                (
                    "ingest",
                    f"Unschedulable: {NO_GPUS}",
                    "no node has enough free GPUs: add a node with two nvidia.com/gpu, or wait for other pods to end",
                    "blocked",
                )
            ],
        ),
    ],
)
def test_diagnose_pods_recorded_pods_returns_issues(cluster: Cluster, recording: str, issues: list[PodIssue]) -> None:
    double = cluster(*recorded_objects(f"pods_{recording}"))
    first = double.objects[0]["metadata"]
    double.logs[first["name"]] = read_recorded_log("failed_task")
    run_id = first["labels"]["pipeline/runid"]
    assert diagnose_pods(kubernetes_client.connect("kubeflow"), run_id) == issues


def test_diagnose_pods_same_remedy_is_returned_once_per_task(cluster: Cluster) -> None:
    status = waiting("ErrImagePull", "not found")
    issues = _diagnose(pod("ingest", status), event("ingest", "Failed", "Failed to pull image"), cluster=cluster)
    assert [issue.message for issue in issues] == ["ErrImagePull: not found"]


def test_diagnose_pods_healthy_returns_nothing(cluster: Cluster) -> None:
    manifests = pod("ingest", {"phase": "Succeeded"}), pod("preprocess", creating()), pod("x", {"phase": "Running"})
    assert _diagnose(*manifests, cluster=cluster) == []


def test_diagnose_pods_other_run_returns_nothing(cluster: Cluster) -> None:
    assert _diagnose(pod("ingest", unschedulable(GPUS), run_id="another"), cluster=cluster) == []


def test_diagnose_pods_workflows_denied_returns_pod_issues(cluster: Cluster) -> None:
    double = cluster(pod("ingest", unschedulable(GPUS)), workflow("fine-tune", "Error", QUOTA))
    double.denied = {"workflows"}
    assert [issue.task for issue in diagnose_pods(kubernetes_client.connect("kubeflow"), RUN)] == ["ingest"]
