"""What holds a run is read from pods, events and Argo's workflow, and comes with what mends it."""

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


def _held(*manifests: str, cluster: Cluster) -> list[PodIssue]:
    cluster(*manifests)
    return diagnose_pods(kubernetes_client.connect("kubeflow"), RUN)


@pytest.mark.parametrize(
    ("status", "said", "remedy"),
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
        (unschedulable(GPUS), f"Unschedulable: {GPUS}", "no node has the GPUs free: add one with two nvidia.com/gpu"),
        (unschedulable(TAINT), f"Unschedulable: {TAINT}", "tolerate the taint nvidia.com/gpu of the nodes"),
        (unschedulable(FULL), f"Unschedulable: {FULL}", "no node has enough memory free"),
        (unschedulable("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
         "Unschedulable: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
         "label a node as the node selector asks"),
        (failed("OOMKilled", 137), "OOMKilled: exit code 137", "it needed more memory than its limit"),
        ({"phase": "Failed", "reason": "DeadlineExceeded", "message": DEADLINE}, f"DeadlineExceeded: {DEADLINE}",
         "it took longer than its time-out: go on from its checkpoint with radiograft retry"),
        ({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
         "Evicted: The node was low on resource: memory.", "its node gave it up: radiograft retry goes on"),
    ],
)  # fmt: skip
def test_what_a_pod_says_comes_with_its_remedy(
    cluster: Cluster, status: dict[str, object], said: str, remedy: str
) -> None:
    (hold,) = _held(pod("fine-tune", status), cluster=cluster)
    assert (hold.task, hold.said) == ("fine-tune", said)
    assert hold.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (QUOTA, "raise the resource quota gpus, or wait"),
        (UNDECLARED, "give the namespace a LimitRange with default requests and limits"),
        (QUANTITY, "write quantities as Kubernetes does: 500m, 8, 16Gi"),
        (RESTRICTED, "the namespace demands more than the pod has"),
        (NO_ACCOUNT, "create the service account trainer, or give another with --service-account"),
        ("Step exceeded its deadline", "it took longer than its time-out"),
    ],
)
def test_what_only_argo_says_comes_with_its_remedy(cluster: Cluster, message: str, remedy: str) -> None:
    (hold,) = _held(workflow("fine-tune", "Error", message), cluster=cluster)
    assert (hold.task, hold.said) == ("fine-tune", message)
    assert hold.remedy.startswith(remedy)


def test_a_volume_that_cannot_be_mounted_stands_in_the_events(cluster: Cluster) -> None:
    message = 'MountVolume.SetUp failed for volume "key" : secret "bucket-key" not found'
    warning, of_others = event("publish", "FailedMount", message), event("ingest", "FailedMount", "elsewhere")
    (hold,) = _held(pod("publish", creating()), warning, of_others, cluster=cluster)
    assert hold == (
        "publish", f"FailedMount: {message}", "create the secret bucket-key in the run's namespace",
    )  # fmt: skip


def test_a_failed_tasks_last_exception_is_told(cluster: Cluster) -> None:
    double = cluster(pod("ingest", failed("Error", 1)))
    double.logs["radiograft-transfer-learning-x7k2p-ingest"] = (
        "Traceback (most recent call last):\n  File x\nKeyError: 'first'\n\nTraceback (most recent call last):\n"
        "FileNotFoundError: no such object: gs://data/nih/Data_Entry_2017.csv\nF1123 main.go:49] exit status 1\n"
    )
    assert diagnose_pods(kubernetes_client.connect("kubeflow"), RUN) == [
        ("ingest", "FileNotFoundError: no such object: gs://data/nih/Data_Entry_2017.csv", "")
    ]


def test_a_drivers_log_names_a_wrong_quantity(cluster: Cluster) -> None:
    double = cluster(pod("fine-tune-driver", failed("Error", 1), node=""))
    double.logs["radiograft-transfer-learning-x7k2p-fine-tune-driver"] = f"F1123 driver: {QUANTITY}\nbye\n"
    (hold,) = diagnose_pods(kubernetes_client.connect("kubeflow"), RUN)
    assert hold.task == "fine-tune"
    assert hold.remedy == "write quantities as Kubernetes does: 500m, 8, 16Gi"


def test_the_same_is_told_once_a_task(cluster: Cluster) -> None:
    status = waiting("ErrImagePull", "not found")
    found = _held(pod("ingest", status), event("ingest", "Failed", "Failed to pull image"), cluster=cluster)
    assert [hold.said for hold in found] == ["ErrImagePull: not found"]


def test_pods_that_go_well_hold_nothing(cluster: Cluster) -> None:
    manifests = pod("ingest", {"phase": "Succeeded"}), pod("preprocess", creating()), pod("x", {"phase": "Running"})
    assert _held(*manifests, cluster=cluster) == []


def test_pods_of_another_run_count_for_nothing(cluster: Cluster) -> None:
    assert _held(pod("ingest", unschedulable(GPUS), run_id="another"), cluster=cluster) == []


def test_a_cluster_whose_workflows_may_not_be_read_still_tells_of_pods(cluster: Cluster) -> None:
    double = cluster(pod("ingest", unschedulable(GPUS)), workflow("fine-tune", "Error", QUOTA))
    double.denied = {"workflows"}
    assert [hold.task for hold in diagnose_pods(kubernetes_client.connect("kubeflow"), RUN)] == ["ingest"]
