"""Compiled pipeline packages, and the pods that their tasks request."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from radiograft_pipelines.cluster.pod_request import PodRequest

COMPILED = Path(__file__).parents[1] / "compiled"
# Host with port, path, tag and digest; only characters that YAML reads as plain text.
IMAGE = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?", re.ASCII)


class CompiledPipeline(NamedTuple):
    """A compiled pipeline package.

    Attributes:
        name: name of the pipeline.
        description: help shown in the KFP UI.
        text: the package, as YAML.
        image: container image of all tasks.
        pods: what the tasks' pods request.
    """

    name: str
    description: str
    text: str
    image: str
    pods: list[PodRequest]

    @property
    def version(self) -> str:
        """The version of radiograft and a hash of the content: equal content has an equal version."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:12]
        return f"{importlib.metadata.version('radiograft')}-{digest}"


def read_package(pipeline: str, image: str | None = None, cluster: Path | None = None) -> CompiledPipeline:
    """Reads the compiled package of a pipeline and adapts it to a cluster.

    Args:
        image: container image that replaces the compiled one.
        cluster: cluster file, see `radiograft_pipelines.cluster.profile`.

    Raises:
        FileNotFoundError: the cluster file is missing.
        ValueError: the cluster file or the image reference is invalid.
    """
    text, compiled_image = _read_compiled(pipeline)
    if image:
        if not IMAGE.fullmatch(image):
            raise ValueError(f"--image must be a reference such as registry/name:tag or name@sha256:..., got {image!r}")
        text = text.replace(compiled_image, image)  # also in the environment variable that the lineage records
    if cluster:
        from radiograft_pipelines.cluster.profile import ClusterProfile, apply_profile

        text = apply_profile(text, ClusterProfile.read(cluster))
    return _parse_package(text)


def task_name(display_name: str) -> str | None:
    """Returns the task with this name or display name in a compiled package; None for another node of the run."""
    name = display_name.lower().replace(" ", "-")
    return name if name in _task_names() else None


@functools.cache
def _task_names() -> frozenset[str]:
    specs = [next(yaml.safe_load_all(path.read_text())) for path in COMPILED.glob("*.yaml")]
    return frozenset(name for spec in specs for name, _, _ in _iter_tasks(spec))


@functools.cache
def _read_compiled(pipeline: str) -> tuple[str, str]:
    """Returns the text of a compiled package and its container image."""
    text = (COMPILED / f"{pipeline}.yaml").read_text()
    return text, _parse_package(text).image


@functools.cache
def _parse_package(text: str) -> CompiledPipeline:
    spec, platform = yaml.safe_load_all(text)
    executors = spec["deploymentSpec"]["executors"]
    containers = {label: executor["container"] for label, executor in executors.items()}
    pod_specs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    (image,) = {container["image"] for container in containers.values()}
    pods = [_pod_request(name, containers[label], pod_specs[label]) for name, _, label in _iter_tasks(spec)]
    info = spec["pipelineInfo"]
    return CompiledPipeline(info["name"], info["description"], text, image, pods)


def _iter_tasks(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yields name, display name and executor label of every task that gets a pod, including those in loops."""
    components = spec["components"]
    for component in (spec["root"], *components.values()):
        for name, task in component.get("dag", {}).get("tasks", {}).items():
            if label := components[task["componentRef"]["name"]].get("executorLabel"):
                yield name, task["taskInfo"]["name"], label


def _pod_request(task: str, container: Mapping[str, Any], pod: Mapping[str, Any]) -> PodRequest:
    declared = container["resources"]
    resources = {"cpu": declared["resourceCpuRequest"], "memory": declared["resourceMemoryRequest"]}
    if accelerator := declared.get("accelerator"):
        resources[accelerator["resourceType"]] = accelerator["resourceCount"]
    return PodRequest(
        task=task,
        resources=resources,
        tolerations=pod.get("tolerations", []),
        selector=pod.get("nodeSelector", {}).get("labels", {}),
        config_maps=_required_objects(pod, "configMap"),
        secrets=_required_objects(pod, "secret"),
    )


def _required_objects(pod: Mapping[str, Any], kind: str) -> list[str]:
    """Returns the names of the config maps or secrets without which the pod cannot start."""
    entries = [entry for use in ("AsEnv", "AsVolume") for entry in pod.get(kind + use, ())]
    if kind == "secret":
        entries += pod.get("imagePullSecret", ())
    return sorted({entry[f"{kind}Name"] for entry in entries if not entry.get("optional")})
