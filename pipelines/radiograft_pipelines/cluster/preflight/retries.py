"""Checks which failed tasks the cluster's Argo retries.

A package sets the number of retries and the backoff. KFP cannot set Argo's retry policy, so the defaults in the config
map of Argo's controller decide which failures are retried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.preflight.checks import CheckResult

CONTROLLER = "workflow-controller-configmap"
PATH = ("spec", "templateDefaults", "retryStrategy")  # below workflowDefaults
RETRIED = {
    "Always": "a task is retried if it exits with an error, or if its pod is deleted",
    "OnError": (
        "a task is retried if its pod is deleted, but not if it exits with an error: it gets one attempt, and the run "
        "stands as running through the backoff"
    ),
    "OnFailure": "a task is retried if it exits with an error, but not if its pod is deleted",
    "OnTransientError": "a task is retried only after errors that Argo considers transient",
}


def check_retries(cluster: KubernetesClient, kfp_namespace: str) -> CheckResult:
    """Reports which failed tasks this cluster retries, by the config map of Argo's controller in KFP's namespace."""
    name = f"config map {CONTROLLER}"
    unknown = "which failed tasks the cluster retries is unknown"
    try:
        config_map = cluster.call(name, cluster.core.read_namespaced_config_map, CONTROLLER, kfp_namespace)
        policy = _read_policy(config_map.data or {})
    except LookupError:
        return CheckResult(
            "warning", f"{unknown}: namespace {kfp_namespace} has no {name}", "name KFP's namespace: --kfp-namespace"
        )
    except ClusterError as error:
        permission = f"reading it needs the permission to get configmaps/{CONTROLLER} in namespace {kfp_namespace}"
        return CheckResult("warning", f"{unknown}: {error}", permission)
    if policy not in RETRIED:
        return CheckResult("warning", f"{unknown}: {name} has no valid retryPolicy, got {policy!r}")
    message = f"{RETRIED[policy]} (retryPolicy {policy} of {CONTROLLER})"
    if policy == "Always":
        return CheckResult("good", message)
    return CheckResult(
        "warning", message, f"resume a failed run with radiograft retry, or set retryPolicy: Always in the {name}"
    )


def _read_policy(data: Mapping[str, str]) -> str:
    """Returns the retry policy of all tasks. Without a default, Argo retries tasks that exit with an error."""
    try:
        defaults: Any = _mapping(data.get("workflowDefaults") or _mapping(data.get("config")).get("workflowDefaults"))
        for name in PATH:
            defaults = _mapping(defaults.get(name))
    except (yaml.YAMLError, ValueError):
        return "malformed YAML"
    return str(defaults.get("retryPolicy") or ("Always" if "expression" in defaults else "OnFailure"))


def _mapping(content: Any) -> Mapping[str, Any]:
    """Returns a mapping that may be given as YAML; an empty one for None."""
    parsed = yaml.safe_load(content) if isinstance(content, str) else content
    if not isinstance(parsed, Mapping | None):
        raise ValueError(f"workflowDefaults must be a mapping, got {type(parsed).__name__}")
    return parsed or {}
