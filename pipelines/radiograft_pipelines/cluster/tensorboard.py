"""Training curves of a run on a cluster: a Tensorboard resource where Kubeflow has that kind, else the command."""

from __future__ import annotations

from typing import Any

from radiograft.reporting.tensorboard_card import readable_uri
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient

GROUP, VERSION, PLURAL = "tensorboard.kubeflow.org", "v1alpha1", "tensorboards"
LAUNCHER_CONFIG = "kfp-launcher"  # KFP's own config map, which may name another pipeline root
KFP_ROOT = "minio://mlpipeline/v2/artifacts"


def run_logs_uri(run: Any, pipeline: str, cluster: KubernetesClient | None) -> str:
    """The folder in the object store below which a run's tasks keep their logs.

    Args:
        run: kfp_server_api.V2beta1Run.
        pipeline: the pipeline's name, which KFP makes a folder of the pipeline root.
    """
    root = (run.runtime_config.pipeline_root if run.runtime_config else "") or _root(cluster)
    return f"{readable_uri(root).rstrip('/')}/{pipeline}/{run.run_id}"


def apply_tensorboard(cluster: KubernetesClient, run_id: str, logs: str) -> str | None:
    """Creates or changes the run's Tensorboard resource and returns its name; None where the cluster has no such kind.

    Raises:
        ClusterError: Kubernetes cannot be reached or refuses.
    """
    name = f"radiograft-{run_id}"[:50].rstrip("-")
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Tensorboard",
        "metadata": {"name": name, "namespace": cluster.namespace},
        "spec": {"logspath": logs},
    }
    place = (GROUP, VERSION, cluster.namespace, PLURAL)
    try:
        existing = cluster.objects(*place)
    except LookupError:
        return None
    if any(each["metadata"]["name"] == name for each in existing):
        cluster.call(f"Tensorboard {name}", cluster.custom.patch_namespaced_custom_object, *place, name, body)
    else:
        cluster.call(f"Tensorboard {name}", cluster.custom.create_namespaced_custom_object, *place, body)
    return name


def _root(cluster: KubernetesClient | None) -> str:
    if cluster is None:
        return KFP_ROOT
    try:
        found = cluster.call("config map", cluster.core.read_namespaced_config_map, LAUNCHER_CONFIG, cluster.namespace)
        return str((found.data or {}).get("defaultPipelineRoot") or KFP_ROOT)
    except (ClusterError, LookupError):
        return KFP_ROOT
