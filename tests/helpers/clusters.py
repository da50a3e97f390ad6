"""Kubernetes manifests for tests: nodes with GPUs and taints, quotas, limit ranges and objects of a namespace."""

from __future__ import annotations

import json
from typing import Any

TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def node(
    name: str,
    gpus: str | None = None,
    *,
    cpu: str = "16",
    memory: str = "64Gi",
    taints: list[dict[str, str]] | None = None,
    labels: dict[str, str] | None = None,
    ready: bool = True,
    cordoned: bool = False,
) -> str:
    """Returns a node; its allocatable resources equal its capacity."""
    capacity = {"cpu": cpu, "memory": memory, "pods": "110"} | ({"nvidia.com/gpu": gpus} if gpus else {})
    spec = {"taints": taints or [], "unschedulable": cordoned}
    conditions = [{"type": "Ready", "status": str(ready)}]
    status = {"allocatable": capacity, "capacity": capacity, "conditions": conditions}
    return _object("Node", name, None, spec=spec, status=status, labels=labels or {})


def quota(name: str, hard: dict[str, str], used: dict[str, str] | None = None) -> str:
    """Returns a resource quota of the namespace kubeflow."""
    return _object("ResourceQuota", name, "kubeflow", spec={"hard": hard}, status={"hard": hard, "used": used or {}})


def limit_range(name: str, **limit: dict[str, str]) -> str:
    """Returns a limit range for containers, with limits such as `default` or `max`."""
    return _object("LimitRange", name, "kubeflow", spec={"limits": [{"type": "Container", **limit}]})


def kfp_deployment(image: str) -> str:
    """Returns the deployment of KFP's API server."""
    container = {"name": "ml-pipeline-api-server", "image": image}
    template = {"metadata": {}, "spec": {"containers": [container]}}
    return _object("Deployment", "ml-pipeline", "kubeflow", spec={"selector": {}, "template": template})


def bound_pod(name: str, node: str, phase: str = "Running", namespace: str = "kubeflow", **spec: Any) -> str:
    """Returns a pod of one container on a node. `requests` are the container's; the rest is the pod's `spec`."""
    container = {"name": "main", "image": "i", "resources": {"requests": spec.pop("requests", {})}}
    spec = {"nodeName": node, "containers": [container], **spec}
    return _object("Pod", name, namespace, spec=spec, status={"phase": phase})


def controller_config(**data: str) -> str:
    """Returns the config map of Argo's controller."""
    return _object("ConfigMap", "workflow-controller-configmap", "kubeflow", data=data)


def named(kind: str, name: str, namespace: str = "kubeflow") -> str:
    """Returns a service account, config map or secret."""
    return _object(kind, name, namespace)


def _object(kind: str, name: str, namespace: str | None, labels: Any = None, **parts: Any) -> str:
    metadata = {"name": name, "labels": labels or {}} | ({"namespace": namespace} if namespace else {})
    return json.dumps({"kind": kind, "metadata": metadata, **parts})


RUNNER = named("ServiceAccount", "pipeline-runner")
KFP = kfp_deployment("ghcr.io/kubeflow/kfp-api-server:2.17.0")
STOCK_CONTROLLER = controller_config(
    workflowDefaults="spec: {templateDefaults: {retryStrategy: {limit: '2', retryPolicy: OnError}}}"
)
GOOD = (node("gpu-1", "2"), node("cpu-1"), RUNNER, KFP, STOCK_CONTROLLER)
