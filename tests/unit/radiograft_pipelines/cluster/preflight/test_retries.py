"""`check_retries` reports which failed tasks the cluster retries, by the settings of Argo's controller."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from radiograft_pipelines.cluster import kubernetes_client
from radiograft_pipelines.cluster.preflight.checks import CheckResult
from radiograft_pipelines.cluster.preflight.retries import check_retries
from tests.helpers.clusters import controller_config
from tests.helpers.kubernetes_double import KubernetesDouble
from tests.helpers.recordings import read_recording

Cluster = Callable[..., KubernetesDouble]
REMEDY = (
    "resume a failed run with radiograft retry, or set retryPolicy: Always in the config map "
    "workflow-controller-configmap"
)


def _strategy(text: str) -> str:
    return f"spec: {{templateDefaults: {{retryStrategy: {{{text}}}}}}}"


def test_check_retries_stock_kfp_retries_deleted_pods_only(cluster: Cluster) -> None:
    """Reads the config map as recorded from KFP 2.17."""
    cluster(json.dumps(read_recording("workflow_controller_configmap")))
    assert check_retries(kubernetes_client.connect("kubeflow"), "kubeflow") == CheckResult(
        "warning",
        "a task is retried if its pod is deleted, but not if it exits with an error: it gets one attempt, and the run "
        "stands as running through the backoff (retryPolicy OnError of workflow-controller-configmap)",
        REMEDY,
    )


@pytest.mark.parametrize(
    ("data", "level", "message"),
    [
        ({"workflowDefaults": _strategy("limit: '2', retryPolicy: Always")}, "good",
         "a task is retried if it exits with an error, or if its pod is deleted (retryPolicy Always of "),
        ({"workflowDefaults": _strategy("retryPolicy: OnFailure")}, "warning",
         "a task is retried if it exits with an error, but not if its pod is deleted (retryPolicy OnFailure of "),
        ({"workflowDefaults": _strategy("retryPolicy: OnTransientError")}, "warning",
         "a task is retried only after errors that Argo considers transient (retryPolicy OnTransientError of "),
        # Argo's own defaults
        ({}, "warning", "a task is retried if it exits with an error, but not if its pod is deleted"),
        ({"workflowDefaults": "spec: {ttlStrategy: {secondsAfterCompletion: 60}}"}, "warning",
         "a task is retried if it exits with an error, but not if its pod is deleted"),
        ({"workflowDefaults": _strategy("expression: 'true'")}, "good", "a task is retried if it exits with an error"),
        # all settings in one key
        ({"config": "workflowDefaults: {" + _strategy("retryPolicy: OnError") + "}"}, "warning",
         "a task is retried if its pod is deleted, but not if"),
        ({"workflowDefaults": _strategy("retryPolicy: Never")}, "warning",
         ("which failed tasks the cluster retries is unknown: config map workflow-controller-configmap has no valid "
          "retryPolicy, got 'Never'")),
        ({"workflowDefaults": "spec: ["}, "warning", "which failed tasks the cluster retries is unknown"),
        ({"workflowDefaults": "[]"}, "warning", "which failed tasks the cluster retries is unknown"),
        ({"workflowDefaults": "spec: 5"}, "warning", "which failed tasks the cluster retries is unknown"),
    ],
)  # fmt: skip
def test_check_retries_policy_decides(cluster: Cluster, data: dict[str, str], level: str, message: str) -> None:
    cluster(controller_config(**data))
    result = check_retries(kubernetes_client.connect("kubeflow"), "kubeflow")
    assert result.level == level
    assert result.message.startswith(message)


def test_check_retries_denied_names_permission(cluster: Cluster) -> None:
    double = cluster(controller_config())
    double.denied = {"configmaps"}
    result = check_retries(kubernetes_client.connect("runs"), "kubeflow")
    assert (result.level, result.remedy) == (
        "warning",
        "reading it needs the permission to get configmaps/workflow-controller-configmap in namespace kubeflow",
    )
    assert result.message.startswith("which failed tasks the cluster retries is unknown: Kubernetes at ")


def test_check_retries_missing_names_namespace_option(cluster: Cluster) -> None:
    cluster(controller_config())
    assert check_retries(kubernetes_client.connect("kubeflow"), "kfp") == CheckResult(
        "warning",
        "which failed tasks the cluster retries is unknown: namespace kfp has no config map "
        "workflow-controller-configmap",
        "name KFP's namespace: --kfp-namespace",
    )
