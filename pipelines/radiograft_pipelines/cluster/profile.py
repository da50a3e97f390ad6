"""Cluster profiles: short YAML files that adapt the pods of a compiled package to a cluster.

The values become constants of the package, because KFP supports few of them at run time, and some incorrectly.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kubernetes.utils.quantity import parse_quantity

from radiograft.config.base import did_you_mean
from radiograft.utils.gpus import PROMISED_GPUS_VARIABLE
from radiograft.utils.yaml_io import parse_yaml_mapping
from radiograft_pipelines.cluster.pod_request import is_positive_quantity
from radiograft_pipelines.dags import tasks

LABEL_VALUE = re.compile(r"(?=.{0,63}\Z)([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")
GIGABYTE = 10**9  # unit of KFP's deprecated numeric fields, which are kept beside the quantities


@dataclasses.dataclass(frozen=True)
class ClusterProfile:
    """What a cluster offers and requires. The defaults are the values that the packages are compiled with.

    Attributes:
        gpu_type: resource name of the GPUs.
        gpus: number of GPUs per pod that computes; 0 for none.
        require_gpus: whether a task fails if it sees fewer NVIDIA GPUs than it requested. Set it to false for the CPU
            image and for fractional GPUs.
        max_cpu: upper bound of a pod's CPU request and limit, as a quantity; empty for no bound.
        max_memory: upper bound of a pod's memory request and limit, as a quantity; empty for no bound.
        tolerations: tolerations of every pod, as in a Kubernetes manifest. The one for `gpu_type` is always added.
        node_selector: labels that a node must have to run a pod with GPUs.
        image_pull_policy: Always, IfNotPresent or Never.
        image_pull_secrets: secrets with the credentials of the image registry.
        secret: secret with the keys `accesskey` and `secretkey` of an S3 store. It is optional in the cluster.
        scratch: size of an ephemeral volume for /tmp of pods with GPUs; empty for the node's disk. KFP sets no fsGroup,
            so the storage class must provide volumes that any user may write to.
        scratch_class: storage class of that volume; empty for the cluster's default.
        labels: labels of every pod.
    """

    gpu_type: str = tasks.GPU_TYPE
    gpus: int = tasks.GPUS
    require_gpus: bool = True
    max_cpu: str = ""
    max_memory: str = ""
    tolerations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    node_selector: dict[str, str] = dataclasses.field(default_factory=dict)
    image_pull_policy: str = tasks.PULL_POLICY
    image_pull_secrets: list[str] = dataclasses.field(default_factory=list)
    secret: str = tasks.SECRET
    scratch: str = ""
    scratch_class: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.gpus < 0:
            raise ValueError(f"gpus must be 0 or more, got {self.gpus}")
        if self.image_pull_policy not in ("Always", "IfNotPresent", "Never"):
            raise ValueError(f"image_pull_policy must be Always, IfNotPresent or Never, got {self.image_pull_policy!r}")
        for name in ("max_cpu", "max_memory", "scratch"):
            text = getattr(self, name)
            if text and not is_positive_quantity(text):
                raise ValueError(f"{name} must be a quantity above 0 such as 500m, 8 or 16Gi, got {text!r}")
        for name in ("gpu_type", "secret"):
            if not getattr(self, name):
                raise ValueError(f"{name} must be a name, got ''; the default is {getattr(ClusterProfile, name)}")
        _check_labels("node_selector", self.node_selector)
        _check_labels("labels", self.labels)

    @classmethod
    def read(cls, path: Path) -> ClusterProfile:
        """Reads a YAML file whose keys are the attributes of this class.

        Raises:
            FileNotFoundError: the file is missing.
            ValueError: the file is malformed, or contains an unknown key or an invalid value.
        """
        content = parse_yaml_mapping(path.read_bytes(), str(path), may_be_empty=True)
        names = [field.name for field in dataclasses.fields(cls)]
        for name, value in content.items():
            if name not in names:
                raise ValueError(f"{path} has no setting {name!r}{did_you_mean(str(name), names)}")
            expected = type(getattr(cls(), name))
            if type(value) is not expected:
                raise ValueError(f"{path}: {name} must be {expected.__name__}, got {value!r}")
        return cls(**content)


def _check_labels(name: str, labels: dict[str, Any]) -> None:
    for label, value in labels.items():
        if not (isinstance(value, str) and LABEL_VALUE.fullmatch(value)):
            raise ValueError(
                f"values of {name} must be at most 63 letters, digits and ._-, with a letter or digit at both ends, "
                f"got {value!r} for {label}"
            )


def apply_profile(package: str, cluster: ClusterProfile) -> str:
    """Adapts the pods of a compiled package to a cluster and returns the package.

    Raises:
        ValueError: KFP does not support a value in the profile.
    """
    spec, platform = yaml.safe_load_all(package)
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for label, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        uses_gpus = "accelerator" in container["resources"]
        pods[label] = _adapt_pod(pods[label], cluster, on_gpus=uses_gpus and cluster.gpus > 0)
        if uses_gpus:
            _set_gpus(container, cluster)
        _limit_resources(container["resources"], cluster)
    return yaml.safe_dump_all([spec, platform])


def _adapt_pod(pod: dict[str, Any], cluster: ClusterProfile, *, on_gpus: bool) -> dict[str, Any]:
    """Returns the pod's platform configuration, validated by KFP's message type."""
    adapted = {
        **pod,
        "secretAsEnv": [_set_store_secret(entry, cluster.secret) for entry in pod["secretAsEnv"]],
        "tolerations": [*cluster.tolerations],
        "nodeSelector": {"labels": {}},
        "imagePullPolicy": cluster.image_pull_policy,
        "imagePullSecret": [_secret_name(name) for name in cluster.image_pull_secrets],
        "podMetadata": {"labels": {**pod["podMetadata"]["labels"], **cluster.labels}},
    }
    if on_gpus:
        gpu_toleration = {"key": cluster.gpu_type, "operator": "Exists", "effect": "NoSchedule"}
        adapted["tolerations"] = [gpu_toleration, *cluster.tolerations]
        adapted["nodeSelector"] = {"labels": cluster.node_selector}
        if cluster.scratch:
            adapted |= _scratch_volume(pod, cluster)
    try:
        return dict(json_format.MessageToDict(json_format.ParseDict(adapted, KubernetesExecutorConfig())))
    except json_format.ParseError as error:
        raise ValueError(f"KFP does not support this pod configuration: {error}") from None


def _set_store_secret(entry: dict[str, Any], secret: str) -> dict[str, Any]:
    return entry | _secret_name(secret) if entry["secretName"] == tasks.SECRET else entry


def _secret_name(name: str) -> dict[str, Any]:
    """Returns a secret's name in KFP's deprecated field and in the one that replaces it."""
    return {"secretName": name, "secretNameParameter": {"runtimeValue": {"constant": name}}}


def _scratch_volume(pod: dict[str, Any], cluster: ClusterProfile) -> dict[str, Any]:
    """Returns the volumes of a pod whose /tmp is an ephemeral volume instead of a folder on the node's disk."""
    (folder,) = (mount for mount in pod["emptyDirMounts"] if mount["mountPath"] == tasks.WRITABLE)
    kind = {"storageClassName": cluster.scratch_class} if cluster.scratch_class else {"defaultStorageClass": True}
    volume = {**folder, "accessModes": ["ReadWriteOnce"], "size": cluster.scratch, **kind}
    others = [mount for mount in pod["emptyDirMounts"] if mount != folder]
    return {"emptyDirMounts": others, "genericEphemeralVolume": [volume]}


def _set_gpus(container: dict[str, Any], cluster: ClusterProfile) -> None:
    """Sets the type and number of a container's GPUs, and the number that its task checks for."""
    count, kind = str(cluster.gpus), cluster.gpu_type
    container["resources"]["accelerator"] = {"count": count, "resourceCount": count, "type": kind, "resourceType": kind}
    for variable in container["env"]:
        if variable["name"] == PROMISED_GPUS_VARIABLE:
            variable["value"] = count if cluster.require_gpus else "0"
    if not cluster.gpus:
        del container["resources"]["accelerator"]


def _limit_resources(resources: dict[str, Any], cluster: ClusterProfile) -> None:
    """Lowers requests and limits to the upper bounds of the profile."""
    for kind, maximum, unit in (("Cpu", cluster.max_cpu, 1), ("Memory", cluster.max_memory, GIGABYTE)):
        for bound in ("Request", "Limit"):
            if maximum and parse_quantity(resources[f"resource{kind}{bound}"]) > parse_quantity(maximum):
                resources[f"resource{kind}{bound}"] = maximum
                resources[f"{kind.lower()}{bound}"] = float(parse_quantity(maximum) / unit)
