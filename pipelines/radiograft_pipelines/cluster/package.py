"""A compiled pipeline as it is uploaded, and what its pods ask of a cluster."""

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
# Host with port, path, tag, digest: nothing that YAML would take for more than text.
IMAGE = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)*(:[\w.-]+)?(@sha256:[0-9a-f]{64})?", re.ASCII)


class CompiledPipeline(NamedTuple):
    """A pipeline's package: its name and help for the UI, its text, its tasks' image and what they ask for."""

    name: str
    description: str
    text: str
    image: str
    demands: list[PodRequest]

    @property
    def version(self) -> str:
        """Package version and hash: the same content has the same name, other content another one."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:12]
        return f"{importlib.metadata.version('radiograft')}-{digest}"


def read_package(
    pipeline: str, image: str | None = None, cluster: Path | None = None, model: str = ""
) -> CompiledPipeline:
    """The compiled package of a pipeline.

    Args:
        image: container image instead of the compiled one.
        cluster: file of what the cluster has and wants, see `radiograft_pipelines.cluster.profile`.
        model: name under which runs publish, a label of their pods; empty: none.

    Raises:
        FileNotFoundError, ValueError: the cluster's file is missing or wrong, or the image is no reference.
    """
    text, compiled = _compiled(pipeline)
    if image:  # the compiled one also stands in the environment, for the lineage
        if not IMAGE.fullmatch(image):
            raise ValueError(f"--image must be a reference such as registry/name:tag or name@sha256:..., got {image!r}")
        text = text.replace(compiled, image)
    if cluster or model:
        from radiograft_pipelines.cluster.profile import ClusterProfile, apply_profile

        wanted = ClusterProfile.read(cluster) if cluster else ClusterProfile()
        text = apply_profile(text, wanted.running(model) if model else wanted)
    return _described(text)


@functools.cache
def task_names() -> dict[str, str]:
    """The tasks of all compiled packages by their names and by those that the UI shows: KFP's list of a run's nodes may
    have either."""
    specs = [next(yaml.safe_load_all(path.read_text())) for path in COMPILED.glob("*.yaml")]
    shown = [(name, title) for spec in specs for name, title, _ in _tasks(spec)]
    return {known: name for name, title in shown for known in (name, title)}


@functools.cache
def _compiled(pipeline: str) -> tuple[str, str]:
    """A compiled package's text and the image in it."""
    text = (COMPILED / f"{pipeline}.yaml").read_text()
    return text, _described(text).image


@functools.cache
def _described(text: str) -> CompiledPipeline:
    spec, platform = yaml.safe_load_all(text)
    containers = {label: each["container"] for label, each in spec["deploymentSpec"]["executors"].items()}
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    (image,) = {container["image"] for container in containers.values()}
    demands = [_demand(name, containers[label], pods[label]) for name, _, label in _tasks(spec)]
    info = spec["pipelineInfo"]
    return CompiledPipeline(info["name"], info["description"], text, image, demands)


def _tasks(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, name in the UI and executor's label of everything that gets a pod, also inside loops."""
    parts = spec["components"]
    for holder in (spec["root"], *parts.values()):
        for name, task in holder.get("dag", {}).get("tasks", {}).items():
            if label := parts[task["componentRef"]["name"]].get("executorLabel"):
                yield name, task["taskInfo"]["name"], label


def _demand(task: str, container: Mapping[str, Any], pod: Mapping[str, Any]) -> PodRequest:
    resources = container["resources"]
    asked = {"cpu": resources["resourceCpuRequest"], "memory": resources["resourceMemoryRequest"]}
    if accelerator := resources.get("accelerator"):
        asked[accelerator["resourceType"]] = accelerator["resourceCount"]
    return PodRequest(
        task=task,
        resources=asked,
        tolerations=pod.get("tolerations", []),
        selector=pod.get("nodeSelector", {}).get("labels", {}),
        config_maps=_needed(pod, "configMap"),
        secrets=_needed(pod, "secret"),
    )


def _needed(pod: Mapping[str, Any], kind: str) -> list[str]:
    """Config maps or secrets without which the pod does not start."""
    entries = [entry for use in ("AsEnv", "AsVolume") for entry in pod.get(kind + use, ())]
    pulling = pod.get("imagePullSecret", ()) if kind == "secret" else ()
    return sorted({entry[f"{kind}Name"] for entry in (*entries, *pulling) if not entry.get("optional")})
