"""The manifests and the images: ours have the project's version, and whoever uses it names their own instead."""

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


def test_our_images_have_the_projects_version() -> None:
    """Fails where the version in pyproject.toml moves on and the manifests' tags do not."""
    specs = [spec for each in render("base") if (spec := pod_spec(each))]
    images = {c["image"] for spec in specs for c in [*spec.get("initContainers", ()), *spec["containers"]]}
    assert images == {
        f"radiograft/trainer:{VERSION}-cpu",
        f"radiograft/tensorboard:{VERSION}",
        "tensorflow/serving:2.20.0",
    }


def test_the_manifests_hold_with_images_of_ones_own(tmp_path: Path) -> None:
    """Fails where a test that `make manifests` runs insists on our images, or on no RADIOGRAFT_TRAINER_IMAGE.

    The checkout is copied, its base edited as `kustomize edit set image` does, and tests/manifests run in the copy.
    """
    for folder in ("components", "manifests", "pipelines", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    base = tmp_path / "manifests" / "base" / "kustomization.yaml"
    wanted = yaml.safe_load(base.read_text())
    kept = [each for each in wanted["images"] if each["name"] not in OWN]
    own = [{"name": name, "newName": place, "digest": digest} for name, (place, digest) in OWN.items()]
    base.write_text(yaml.safe_dump(wanted | {"images": kept + own}))
    assert "our_group/trainer@sha256:aaa" in str(rendered(base.parent))
    exported = os.environ | {"RADIOGRAFT_TRAINER_IMAGE": "@".join(OWN["radiograft/trainer"])}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "tests/manifests"]
    done = subprocess.run(command, cwd=tmp_path, env=exported, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
