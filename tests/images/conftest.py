"""Builds and runs the real images with podman and runc, on a base image of Debian packages instead of the public one.

This takes several minutes and gigabytes, so it needs RADIOGRAFT_BUILD_IMAGES.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.images.dockerfiles import IMAGES

ENABLED_VARIABLE = "RADIOGRAFT_BUILD_IMAGES"
TOOLS = ("podman", "runc", "debootstrap")
BASE = "localhost/radiograft-base:test"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP = Path("/etc/pip.conf")
# The restrictions of a pod, and no network.
RUN_OPTIONS = (
    *("--rm", "--read-only", "--tmpfs", "/tmp:rw,exec,mode=1777", "--network", "none"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)
Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Podman:
    """podman with a temporary image store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # In a container, runc cannot raise limits above those of this process.
        files, processes = (resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
        limits = [f'"nofile={files}:{files}"', f'"nproc={processes // 4}:{processes // 4}"']
        (folder / "containers.conf").write_text(
            f"[containers]\ndefault_ulimits = [{', '.join(limits)}]\n"
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n'
        )
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/store"\nrunroot = "{folder}/run"\n'
        )
        self.environment = os.environ | {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run("podman", *arguments)

    def make_base(self) -> None:
        """Builds a base image with Debian's Python 3.11; python:3.11-slim-bookworm is the same Debian release."""
        root, archive = self.folder / "root", self.folder / "root.tar"
        packages = "--include=python3,python3-venv,ca-certificates"
        self._run("debootstrap", "--variant=minbase", packages, "bookworm", str(root)).check_returncode()
        self._run("tar", "--create", "--file", str(archive), "--directory", str(root), ".").check_returncode()
        self("import", str(archive), BASE).check_returncode()
        shutil.rmtree(root)
        archive.unlink()

    def build(self, image: str, **variables: str) -> None:
        """Runs `make image` with this machine's certificates and pip configuration mounted during the build."""
        volumes = [f"--volume {path}:{path}:ro" for path in (CERTIFICATES, PIP) if path.exists()]
        options = ["--isolation oci", "--network host", f"--build-arg PYTHON_IMAGE={BASE}", *volumes]
        environment = {**self.environment, **variables, "IMAGE": image, "BUILD_OPTIONS": " ".join(options)}
        done = subprocess.run([IMAGES / "build"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    if not os.environ.get(ENABLED_VARIABLE):
        pytest.skip(f"{ENABLED_VARIABLE} is unset: images are not built")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"building without Docker needs {', '.join(missing)}")
    if os.geteuid():
        pytest.skip("debootstrap needs root")
    folder = tmp_path_factory.mktemp("podman")
    podman = Podman(folder)
    podman.make_base()
    yield podman
    podman("system", "reset", "--force")
    subprocess.run(["umount", folder / "store/overlay"], capture_output=True, check=False)  # podman does not unmount it
    shutil.rmtree(folder, ignore_errors=True)


def _build(podman: Podman, image: str, **variables: str) -> Run:
    podman.build(image, **variables)
    return lambda *command, options=(): podman("run", *RUN_OPTIONS, *options, image, *command)


@pytest.fixture(scope="session")
def in_trainer(podman: Podman) -> Run:
    """Runs a command in the trainer's CPU image."""
    return _build(podman, "localhost/radiograft-trainer:test", TARGET="cpu")


@pytest.fixture(scope="session")
def in_tensorboard(podman: Podman) -> Run:
    """Runs a command in TensorBoard's image."""
    return _build(podman, "localhost/radiograft-tensorboard:test", NAME="tensorboard")
