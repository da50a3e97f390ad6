"""Reads the compiled pipelines like the KFP backend: every task with the specification of its pod."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import yaml

from tests.repository import ROOT

COMPILED = ROOT / "pipelines" / "radiograft_pipelines" / "compiled"
PACKAGES = (
    *("transfer_learning", "retraining", "cutoff_search", "backbone_comparison"),
    *("hyperparameter_search", "super_resolution"),
)
STAGES_ON_GPUS = ("ingest", "preprocess", "extract-features", "fine-tune", "evaluate")
ON_NONE = ("list-workers", "collect-shards", "publish")
OF_THE_SEARCH = ("list-cut-offs", "choose-model")
OF_THE_COMPARISON = ("list-backbones", "choose-backbone")
OF_THE_TRIALS = ("run-trials", "choose-settings")  # on GPUs, unlike list-search-workers
OF_SUPER_RESOLUTION = ("train-super-resolution", "evaluate-super-resolution")
TASKS = {
    "transfer_learning": (*STAGES_ON_GPUS, *ON_NONE),
    "retraining": (*STAGES_ON_GPUS, *ON_NONE),
    "cutoff_search": (*STAGES_ON_GPUS, *ON_NONE, *OF_THE_SEARCH),
    "backbone_comparison": (*STAGES_ON_GPUS, *ON_NONE, *OF_THE_COMPARISON),
    "hyperparameter_search": (*STAGES_ON_GPUS, *ON_NONE, "list-search-workers", *OF_THE_TRIALS),
    "super_resolution": (
        *("ingest", "preprocess", "list-workers", "collect-shards"),
        *(*OF_SUPER_RESOLUTION, "publish-super-resolution"),
    ),
}


@dataclass(frozen=True)
class Task:
    """A task of the DAG with its container and its part of the platform document."""

    dag: dict[str, Any]
    container: dict[str, Any]
    pod: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return {variable["name"]: variable["value"] for variable in self.container["env"]}

    @property
    def empty_dirs(self) -> dict[str, dict[str, Any]]:
        return {mount["mountPath"]: mount for mount in self.pod["emptyDirMounts"]}


def documents(package: str) -> list[dict[str, Any]]:
    """Returns the documents of the pipeline and of the platform."""
    return list(yaml.safe_load_all((COMPILED / f"{package}.yaml").read_text()))


@functools.cache
def pipeline(package: str) -> dict[str, Any]:
    """Returns the intermediate representation of the pipeline."""
    return documents(package)[0]


@functools.cache
def tasks(package: str) -> dict[str, Task]:
    """Returns every task by name, including those in loops, with its container as the backend resolves it."""
    platform = documents(package)[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    parts, result = pipeline(package)["components"], {}
    for holder in (pipeline(package)["root"], *parts.values()):
        for name, dag in holder.get("dag", {}).get("tasks", {}).items():
            if executor := parts[dag["componentRef"]["name"]].get("executorLabel"):
                container = pipeline(package)["deploymentSpec"]["executors"][executor]["container"]
                result[name] = Task(dag, container, platform[executor])
    return result
