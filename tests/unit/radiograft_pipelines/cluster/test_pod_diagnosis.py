"""Pod issues are found in pods, events and Argo's workflow, each with its remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from radiograft_pipelines.cluster import kubernetes_client
from radiograft_pipelines.cluster.pod_diagnosis import PodIssue, diagnose_pods
from tests.helpers.kubernetes_double import KubernetesDouble
from tests.helpers.runs_on_kubernetes import RUN, creating, event, failed, pod, unschedulable, waiting, workflow

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


def _diagnose(*manifests: str, cluster: Cluster) -> list[PodIssue]:
    cluster(*manifests)
    return diagnose_pods(kubernetes_client.connect("kubeflow"), RUN)


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
        "publish", f"FailedMount: {message}", "create the secret bucket-key in the run's namespace",
    )  # fmt: skip


def test_diagnose_pods_failed_task_returns_last_exception(cluster: Cluster) -> None:
    double = cluster(pod("ingest", failed("Error", 1)))
    double.logs["radiograft-transfer-learning-x7k2p-ingest"] = (
        "Traceback (most recent call last):\n  File x\nKeyError: 'first'\n\nTraceback (most recent call last):\n"
        "FileNotFoundError: no such object: gs://data/nih/Data_Entry_2017.csv\nF1123 main.go:49] exit status 1\n"
    )
    assert diagnose_pods(kubernetes_client.connect("kubeflow"), RUN) == [
        ("ingest", "FileNotFoundError: no such object: gs://data/nih/Data_Entry_2017.csv", "")
    ]


def test_diagnose_pods_driver_log_returns_invalid_quantity(cluster: Cluster) -> None:
    double = cluster(pod("fine-tune-driver", failed("Error", 1), node=""))
    double.logs["radiograft-transfer-learning-x7k2p-fine-tune-driver"] = f"F1123 driver: {QUANTITY}\nbye\n"
    (issue,) = diagnose_pods(kubernetes_client.connect("kubeflow"), RUN)
    assert issue.task == "fine-tune"
    assert issue.remedy == "write quantities in Kubernetes's notation: 500m, 8, 16Gi"


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
