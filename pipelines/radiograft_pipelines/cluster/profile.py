"""What differs between clusters: a short YAML file that changes what the pods of a compiled package ask for.

KFP takes little of this at run time, and some of it silently wrongly; so it is constant in the package that runs.
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
from radiograft_pipelines import settings
from radiograft_pipelines.cluster.pod_request import is_positive_quantity
from radiograft_pipelines.dags import tasks

LABEL_VALUE = re.compile(r"(?=.{0,63}\Z)([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")
GIGABYTE = 10**9  # the unit of KFP's older fields, which stand beside the quantities as text


@dataclasses.dataclass(frozen=True)
class ClusterProfile:
    """What a cluster has and wants; without any line it is what the packages are compiled for.

    Attributes:
        gpu_type: the resource's name on the nodes.
        gpus: of a pod that computes; 0: none.
        require_gpus: whether a task stops that sees fewer NVIDIA GPUs than it asked for; false for the CPU image and
            for parts of a GPU.
        max_cpu: no pod asks for more cores than this quantity; empty: as compiled.
        max_memory: no pod asks for more memory than this quantity; empty: as compiled.
        tolerations: of every pod, as Kubernetes writes them; that for `gpu_type` is there anyway.
        node_selector: labels that a node must have to get a pod with GPUs.
        image_pull_policy: Always, IfNotPresent or Never.
        image_pull_secrets: secrets with the image registry's credentials.
        secret: the one with an S3 store's `accesskey` and `secretkey`; it need not exist.
        scratch: size of a volume for /tmp that a pod with GPUs gets and loses with its end; empty: the node's own disk.
            KFP sets no fsGroup, so the storage class must give volumes that any user may write to.
        scratch_class: storage class of that volume; empty: the cluster's default.
        labels: of every pod.
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

    def running(self, model: str) -> ClusterProfile:
        """The same cluster for runs that publish a model of this name, with which their pods are labeled."""
        value = model.rstrip("_-")  # which a label's value may hold, but not end with
        return dataclasses.replace(self, labels={tasks.MODEL_LABEL: value, **self.labels})

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
                raise ValueError(
                    f"{name} must be a name, got ''; without the line it is {getattr(ClusterProfile, name)}"
                )
        _check_labels("node_selector", self.node_selector)
        _check_labels("labels", self.labels)

    @classmethod
    def read(cls, path: Path) -> ClusterProfile:
        """Reads a file of the attributes' names.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: no YAML, not a mapping, a name that there is not, or a value that cannot be.
        """
        content = settings.read_mapping(path, may_be_empty=True)
        names = [field.name for field in dataclasses.fields(cls)]
        for name, value in content.items():
            if name not in names:
                raise ValueError(f"{path} has no setting {name!r}{did_you_mean(str(name), names)}")
            wanted = type(getattr(cls(), name))
            if type(value) is not wanted:
                raise ValueError(f"{path}: {name} must be {wanted.__name__}, got {value!r}")
        return cls(**content)


def _check_labels(name: str, labels: dict[str, Any]) -> None:
    for label, value in labels.items():
        if not (isinstance(value, str) and LABEL_VALUE.fullmatch(value)):
            raise ValueError(
                f"values of {name} must be at most 63 letters, digits and ._-, a letter or digit first and last, "
                f"got {value!r} for {label}"
            )


def apply_profile(package: str, cluster: ClusterProfile) -> str:
    """A compiled package with its pods as the cluster wants them.

    Raises:
        ValueError: what the cluster wants is nothing that KFP can give a pod.
    """
    spec, platform = yaml.safe_load_all(package)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for label, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        computes = "accelerator" in container["resources"]
        executors[label] = _pod(executors[label], cluster, on_gpus=computes and cluster.gpus > 0)
        if computes:
            _with_gpus(container, cluster)
        _limit_resources(container["resources"], cluster)
    return yaml.safe_dump_all([spec, platform])


def _pod(pod: dict[str, Any], cluster: ClusterProfile, *, on_gpus: bool) -> dict[str, Any]:
    """The platform's part of a pod, checked by KFP's own message type."""
    store = {"secretName": cluster.secret, **_named("secret", cluster.secret)}
    secrets = [entry | (store if entry["secretName"] == tasks.SECRET else {}) for entry in pod["secretAsEnv"]]
    gpu = [{"key": cluster.gpu_type, "operator": "Exists", "effect": "NoSchedule"}] if on_gpus else []
    changed = {
        **pod,
        "secretAsEnv": secrets,
        "tolerations": [*gpu, *cluster.tolerations],
        "nodeSelector": {"labels": cluster.node_selector if on_gpus else {}},
        "imagePullPolicy": cluster.image_pull_policy,
        "imagePullSecret": [{"secretName": name, **_named("secret", name)} for name in cluster.image_pull_secrets],
        "podMetadata": {"labels": {**pod["podMetadata"]["labels"], **cluster.labels}},
        **(_scratch(pod, cluster) if on_gpus and cluster.scratch else {}),
    }
    try:
        return dict(json_format.MessageToDict(json_format.ParseDict(changed, KubernetesExecutorConfig())))
    except json_format.ParseError as error:
        raise ValueError(f"KFP cannot give this to a pod: {error}") from None


def _scratch(pod: dict[str, Any], cluster: ClusterProfile) -> dict[str, Any]:
    """A claim of the pod's own in place of the empty folder that lies on the node's disk."""
    (folder,) = (mount for mount in pod["emptyDirMounts"] if mount["mountPath"] == tasks.WRITABLE)
    kind = {"storageClassName": cluster.scratch_class} if cluster.scratch_class else {"defaultStorageClass": True}
    claim = {**folder, "accessModes": ["ReadWriteOnce"], "size": cluster.scratch, **kind}
    others = [mount for mount in pod["emptyDirMounts"] if mount != folder]
    return {"emptyDirMounts": others, "genericEphemeralVolume": [claim]}


def _named(kind: str, name: str) -> dict[str, Any]:
    return {f"{kind}NameParameter": {"runtimeValue": {"constant": name}}}


def _with_gpus(container: dict[str, Any], cluster: ClusterProfile) -> None:
    """Changes kind and number of the GPUs of a container that asks for some, and its promise."""
    count, kind = str(cluster.gpus), cluster.gpu_type
    container["resources"]["accelerator"] = {"count": count, "resourceCount": count, "type": kind, "resourceType": kind}
    for variable in container["env"]:
        if variable["name"] == PROMISED_GPUS_VARIABLE:
            variable["value"] = count if cluster.require_gpus else "0"
    if not cluster.gpus:
        del container["resources"]["accelerator"]


def _limit_resources(resources: dict[str, Any], cluster: ClusterProfile) -> None:
    """Lowers requests and limits to the most that a pod may ask for."""
    for kind, most, unit in (("Cpu", cluster.max_cpu, 1), ("Memory", cluster.max_memory, GIGABYTE)):
        for bound in ("Request", "Limit"):
            if most and parse_quantity(resources[f"resource{kind}{bound}"]) > parse_quantity(most):
                resources[f"resource{kind}{bound}"] = most
                resources[f"{kind.lower()}{bound}"] = float(parse_quantity(most) / unit)
