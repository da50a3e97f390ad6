"""TensorBoard for runs on a cluster: a Tensorboard resource if Kubeflow has that kind, otherwise a command."""

from __future__ import annotations

from typing import Any

from radiograft.reporting.tensorboard_card import readable_uri
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient

GROUP, VERSION, PLURAL = "tensorboard.kubeflow.org", "v1alpha1", "tensorboards"
LAUNCHER_CONFIG = "kfp-launcher"  # KFP's own config map, which may set another pipeline root
KFP_ROOT = "minio://mlpipeline/v2/artifacts"


def run_logs_uri(run: Any, pipeline: str, cluster: KubernetesClient | None) -> str:
    """Returns the URI of the folder that holds the logs of a run's tasks.

    Args:
        run: kfp_server_api.V2beta1Run.
        pipeline: name of the pipeline, which is a folder below the pipeline root.
        cluster: where KFP's default pipeline root is read; None assumes KFP's own store.
    """
    root = (run.runtime_config.pipeline_root if run.runtime_config else "") or _default_pipeline_root(cluster)
    return f"{readable_uri(root).rstrip('/')}/{pipeline}/{run.run_id}"


def apply_tensorboard(cluster: KubernetesClient, run_id: str, logs: str) -> str | None:
    """Creates or updates the Tensorboard resource of a run.

    Returns:
        The name of the resource, or None if the cluster does not have this kind.

    Raises:
        ClusterError: the request to Kubernetes failed.
    """
    name = f"radiograft-{run_id}"[:50].rstrip("-")
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Tensorboard",
        "metadata": {"name": name, "namespace": cluster.namespace},
        "spec": {"logspath": logs},
    }
    path = (GROUP, VERSION, cluster.namespace, PLURAL)
    try:
        existing = cluster.list_custom_objects(*path)
    except LookupError:
        return None
    if any(resource["metadata"]["name"] == name for resource in existing):
        cluster.call(f"Tensorboard {name}", cluster.custom.patch_namespaced_custom_object, *path, name, body)
    else:
        cluster.call(f"Tensorboard {name}", cluster.custom.create_namespaced_custom_object, *path, body)
    return name


def _default_pipeline_root(cluster: KubernetesClient | None) -> str:
    if cluster is None:
        return KFP_ROOT
    method = cluster.core.read_namespaced_config_map
    try:
        config_map = cluster.call("config map", method, LAUNCHER_CONFIG, cluster.namespace)
        return str((config_map.data or {}).get("defaultPipelineRoot") or KFP_ROOT)
    except (ClusterError, LookupError):
        return KFP_ROOT
