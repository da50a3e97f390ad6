"""The images in the manifests: ours have the project's version, and users can replace them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.images.test_build import VERSION
from tests.manifests.rendered import pod_spec, render, rendered
from tests.repository import ROOT

OWN = {
    "radiograft/trainer": ("registry.example:5000/our_group/trainer", "sha256:" + "a" * 64),
    "radiograft/tensorboard": ("registry.example:5000/our_group/tensorboard", "sha256:" + "b" * 64),
}


def test_manifest_images_have_project_version() -> None:
    """Fails if the version in pyproject.toml changes, but not the tags in the manifests."""
    specs = [spec for manifest in render("base") if (spec := pod_spec(manifest))]
    images = {
        container["image"] for spec in specs for container in [*spec.get("initContainers", ()), *spec["containers"]]
    }
    assert images == {
        f"radiograft/trainer:{VERSION}-cpu",
        f"radiograft/tensorboard:{VERSION}",
        "tensorflow/serving:2.20.0",
    }


def test_manifests_with_custom_images_pass_tests(tmp_path: Path) -> None:
    """Fails if a test of `make manifests` requires our images, or that RADIOGRAFT_TRAINER_IMAGE is unset.

    Copies the checkout, edits the base as `kustomize edit set image` does, and runs tests/manifests in the copy.
    """
    for folder in ("components", "manifests", "pipelines", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    base = tmp_path / "manifests" / "base" / "kustomization.yaml"
    kustomization = yaml.safe_load(base.read_text())
    others = [image for image in kustomization["images"] if image["name"] not in OWN]
    own = [{"name": name, "newName": new_name, "digest": digest} for name, (new_name, digest) in OWN.items()]
    base.write_text(yaml.safe_dump(kustomization | {"images": others + own}))
    assert "our_group/trainer@sha256:aaa" in str(rendered(base.parent))
    environment = os.environ | {"RADIOGRAFT_TRAINER_IMAGE": "@".join(OWN["radiograft/trainer"])}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/manifests"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
