"""The Dockerfiles: same user and folders as the pods, locked packages, pinned base image."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from radiograft_pipelines.dags import tasks
from tests.images.dockerfiles import IMAGES, NAMES, environment, instructions, stages
from tests.repository import ROOT

every_image = pytest.mark.parametrize("name", NAMES)
LOCKS = ("cpu", "gpu", "tensorboard", "sbom")


@every_image
def test_hadolint_reports_nothing(name: str) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, str(IMAGES / name / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_all_dockerfiles_are_tested() -> None:
    assert sorted(path.parent.name for path in IMAGES.glob("*/Dockerfile")) == sorted(NAMES)


def test_targets_differ_only_in_lock_file() -> None:
    cpu, gpu = (stages("trainer")[target] for target in ("cpu", "gpu"))
    assert [line for line in zip(cpu, gpu, strict=True) if line[0] != line[1]] == [
        (("FROM", "python AS cpu"), ("FROM", "python AS gpu")),
        (
            ("COPY", "--from=bill /opt/radiograft/trainer-cpu.cdx.json /opt/radiograft/sbom.cdx.json"),
            ("COPY", "--from=bill /opt/radiograft/trainer-gpu.cdx.json /opt/radiograft/sbom.cdx.json"),
        ),
        (("COPY", "requirements/cpu.txt lock.txt"), ("COPY", "requirements/gpu.txt lock.txt")),
    ]


def test_home_and_caches_equal_pods() -> None:
    variables = environment(stages("trainer")["python"])
    assert {name: variables[name] for name in tasks.CACHES} == {
        name: tasks.WRITABLE + folder for name, folder in tasks.CACHES.items()
    }


@pytest.mark.parametrize(("name", "stage"), [("trainer", "cpu"), ("trainer", "gpu"), ("tensorboard", "only")])
def test_user_equals_pods(name: str, stage: str) -> None:
    last = dict(stages(name)[stage])
    assert last["USER"] == f"{tasks.USER}:{tasks.USER}"
    assert last["WORKDIR"] == "/tmp"
    assert "org.opencontainers.image.revision=$REVISION" in last["LABEL"]


@pytest.mark.parametrize(("name", "stage"), [("trainer", "cpu"), ("trainer", "gpu"), ("tensorboard", "only")])
def test_layers_are_cached_and_reproducible(name: str, stage: str) -> None:
    """Packages come before our source, which comes before version and commit; no file depends on the build time."""
    layers = [f"{keyword} {arguments}" for keyword, arguments in stages(name)[stage]]
    markers = (
        "COPY requirements/",
        "--require-hashes",
        "COPY components ",
        "--no-deps --no-build-isolation",
        "ARG VERSION=",
    )
    positions = [next((i for i, layer in enumerate(layers) if marker in layer), None) for marker in markers]
    present = [position for position in positions if position is not None]
    assert present == sorted(present)
    assert len(present) == (len(markers) if name == "trainer" else 3)
    python_layers = [layer for layer in layers if "pip install" in layer or "venv" in layer]
    assert all("SOURCE_DATE_EPOCH=315532800 " in layer for layer in python_layers)


@pytest.mark.parametrize(("name", "stage"), [("trainer", "cpu"), ("trainer", "gpu"), ("tensorboard", "only")])
def test_image_has_bill_of_materials_without_its_tool(name: str, stage: str) -> None:
    lines = [arguments for _, arguments in stages(name)[stage]]
    assert [line.split()[-1].rpartition("/")[2] for line in lines if "--from=bill" in line] == ["sbom.cdx.json"]
    assert not [line for line in lines if "cyclonedx" in line]
    assert [line for _, line in stages(name)["bill"] if "cyclonedx-py requirements" in line]


@every_image
def test_base_image_is_pinned_and_packages_are_hashed(name: str) -> None:
    keywords = [keyword for keyword, _ in instructions(name)]
    assert not {"ADD", "HEALTHCHECK", "ONBUILD"} & set(keywords)
    (base,) = (arguments for keyword, arguments in instructions(name) if arguments.startswith("PYTHON_IMAGE="))
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.11\.\d+-slim-bookworm", base)
    installed = [part for _, arguments in instructions(name) for part in re.findall("pip install[^&]*", arguments)]
    assert all("--require-hashes" in command or command.strip().endswith(" .") for command in installed)


@pytest.mark.parametrize("lock", LOCKS)
def test_locked_packages_have_hashes(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    packages = re.split(r"\n(?=\w)", text.partition("make lock\n")[2])
    assert len(packages) > 30
    assert [package for package in packages if "--hash=sha256:" not in package] == []


def _version(lock: str, package: str) -> str | None:
    match = re.search(rf"^{package}==(\S+)", (ROOT / "requirements" / f"{lock}.txt").read_text(), re.MULTILINE)
    return match and match[1]


def test_tensorboard_lock_has_bucket_support_and_trainer_version() -> None:
    assert _version("tensorboard", "tensorboard") == _version("gpu", "tensorboard")
    assert _version("tensorboard", "gcsfs")
    assert _version("tensorboard", "boto3")
    assert _version("tensorboard", "tensorboard-data-server") is None  # does not support workload identity
    assert _version("tensorboard", "tensorflow") is None
