"""Renders the manifests with kustomize."""

from __future__ import annotations

import copy
import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repository import ROOT

MANIFESTS = ROOT / "manifests"
OVERLAYS = ("gke", "in-cluster-store", "kserve", "kubeflow")
FOLDERS = {"base": MANIFESTS / "base"} | {name: MANIFESTS / "overlays" / name for name in OVERLAYS}
Document = dict[str, Any]


def render(name: str) -> list[Document]:
    """Returns the objects of the base or of an overlay, as a copy that may be changed."""
    return copy.deepcopy(rendered(FOLDERS[name]))


@functools.cache
def rendered(folder: Path) -> list[Document]:
    """Returns the objects of a folder with a kustomization."""
    tools = (("kubectl", "kustomize"), ("kustomize", "build"))
    command = next((tool for tool in tools if shutil.which(tool[0])), None)
    if command is None:
        pytest.skip("rendering the manifests requires kubectl or kustomize")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # kustomize warns here of deprecated fields
    return list(yaml.safe_load_all(done.stdout))


def the(documents: list[Document], kind: str, name: str) -> Document:
    """Returns the object of this kind and name."""
    (match,) = (each for each in documents if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return match


def pod_spec(document: Document) -> Document | None:
    """Returns the pod specification in an object; None if it has none."""
    if document["kind"] == "Deployment":
        return document["spec"]["template"]["spec"]
    if document["kind"] == "InferenceService":
        return document["spec"]["predictor"]
    return None
