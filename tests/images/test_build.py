"""`make image`: choice of the builder and its arguments. Fake builders record their calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.images.dockerfiles import IMAGES
from tests.repository import ROOT

VERSION = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]  # type: ignore[index]
NEEDED = ("bash", "dirname", "git", "sed")


class Machine:
    """A PATH with fake builders that record their calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in NEEDED:
            (folder / name).symlink_to(shutil.which(name) or "")

    def install(self, builder: str, script: str = "exit 0") -> None:
        path = self.folder / builder
        path.write_text(f'#!/bin/sh\necho "{builder} $SOURCE_DATE_EPOCH $*" >> {self.folder}/calls\n{script}\n')
        path.chmod(0o755)

    def build(self, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.folder), "HOME": os.environ.get("HOME", "/")} | variables
        return subprocess.run([IMAGES / "build"], env=environment, capture_output=True, text=True, check=False)

    def call(self) -> str:
        """Returns the last call of a builder."""
        return (self.folder / "calls").read_text().splitlines()[-1]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def commit() -> tuple[str, str]:
    """Hash and time of the current commit."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return _git("rev-parse", "HEAD"), _git("log", "-1", "--format=%ct")


def test_build_default_uses_docker_and_gpu_target(machine: Machine, commit: tuple[str, str]) -> None:
    machine.install("docker")
    machine.install("podman")
    done = machine.build()
    assert done.returncode == 0, done.stderr
    assert machine.call() == (
        f"docker {commit[1]} build --file images/trainer/Dockerfile --build-arg VERSION={VERSION} "
        f"--build-arg REVISION={commit[0]} --target gpu --tag radiograft/trainer:{VERSION} ."
    )
    assert done.stdout == f"built radiograft/trainer:{VERSION}\n"


@pytest.mark.parametrize("builder", ["podman", "buildah"])
def test_build_without_docker_engine_uses_other_builder(
    machine: Machine, commit: tuple[str, str], builder: str
) -> None:
    machine.install("docker", "exit 1")  # `docker info` fails if only the client is installed
    machine.install(builder)
    done = machine.build(TARGET="cpu", BUILD_OPTIONS="--network host --build-arg PYTHON_IMAGE=base:1")
    assert done.returncode == 0, done.stderr
    assert machine.call() == (
        f"{builder}  build --format docker --timestamp {commit[1]} --file images/trainer/Dockerfile "
        f"--build-arg VERSION={VERSION} --build-arg REVISION={commit[0]} --target cpu "
        f"--tag radiograft/trainer:{VERSION}-cpu --network host --build-arg PYTHON_IMAGE=base:1 ."
    )


def test_build_tensorboard_with_custom_reference(machine: Machine, commit: tuple[str, str]) -> None:
    machine.install("buildah")
    done = machine.build(NAME="tensorboard", IMAGE="registry.example/tb:1")
    assert "--file images/tensorboard/Dockerfile" in machine.call()
    assert machine.call().endswith(" --tag registry.example/tb:1 .")
    assert "--target" not in machine.call()
    assert done.stdout == "built registry.example/tb:1\n"


@pytest.mark.parametrize("name", ["trainer", "tensorboard"])
def test_build_exports_bill_of_materials(machine: Machine, commit: tuple[str, str], name: str) -> None:
    machine.install("podman")
    machine.build(NAME=name, BUILD_OPTIONS="--network host")
    assert (machine.folder / "calls").read_text().splitlines()[0] == (
        f"podman  build --format docker --timestamp {commit[1]} --file images/{name}/Dockerfile "
        "--target bills --output build/sbom --network host ."
    )


def test_build_failure_returns_exit_code(machine: Machine, commit: tuple[str, str]) -> None:
    machine.install("podman", "exit 3")
    done = machine.build()
    assert (done.returncode, done.stdout) == (3, "")


def test_build_without_builder_fails(machine: Machine, commit: tuple[str, str]) -> None:
    done = machine.build()
    assert done.returncode == 1
    assert done.stderr == "no container builder found: install podman or buildah, or start docker\n"
