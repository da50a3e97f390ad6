"""What the Dockerfiles say: the same user and folders as the pods, locked packages, nothing that floats."""

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
def test_hadolint_finds_nothing(name: str) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, str(IMAGES / name / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_image_is_known() -> None:
    assert sorted(path.parent.name for path in IMAGES.glob("*/Dockerfile")) == sorted(NAMES)


def test_the_targets_differ_in_their_lock_alone() -> None:
    cpu, gpu = (stages("trainer")[target] for target in ("cpu", "gpu"))
    assert [line for line in zip(cpu, gpu, strict=True) if line[0] != line[1]] == [
        (("FROM", "python AS cpu"), ("FROM", "python AS gpu")),
        (
            ("COPY", "--from=bill /opt/radiograft/trainer-cpu.cdx.json /opt/radiograft/sbom.cdx.json"),
            ("COPY", "--from=bill /opt/radiograft/trainer-gpu.cdx.json /opt/radiograft/sbom.cdx.json"),
        ),
        (("COPY", "requirements/cpu.txt lock.txt"), ("COPY", "requirements/gpu.txt lock.txt")),
    ]


def test_home_and_caches_are_those_of_the_pods() -> None:
    given = environment(stages("trainer")["python"])
    assert {name: given[name] for name in tasks.CACHES} == {
        name: tasks.WRITABLE + folder for name, folder in tasks.CACHES.items()
    }


@pytest.mark.parametrize(("name", "stage"), [("trainer", "cpu"), ("trainer", "gpu"), ("tensorboard", "only")])
def test_the_user_is_that_of_the_pods(name: str, stage: str) -> None:
    last = dict(stages(name)[stage])
    assert last["USER"] == f"{tasks.USER}:{tasks.USER}"
    assert last["WORKDIR"] == "/tmp"
    assert "org.opencontainers.image.revision=$REVISION" in last["LABEL"]


@pytest.mark.parametrize(("name", "stage"), [("trainer", "cpu"), ("trainer", "gpu"), ("tensorboard", "only")])
def test_a_layer_is_built_again_only_when_what_it_holds_has_changed(name: str, stage: str) -> None:
    """Packages come before our source, that before version and commit; files say the same whenever they are made."""
    layers = [f"{keyword} {arguments}" for keyword, arguments in stages(name)[stage]]
    marks = (
        "COPY requirements/",
        "--require-hashes",
        "COPY components ",
        "--no-deps --no-build-isolation",
        "ARG VERSION=",
    )
    found = [next((at for at, layer in enumerate(layers) if mark in layer), None) for mark in marks]
    there = [at for at in found if at is not None]
    assert there == sorted(there)
    assert len(there) == (len(marks) if name == "trainer" else 3)
    made = [layer for layer in layers if "pip install" in layer or "venv" in layer]
    assert all("SOURCE_DATE_EPOCH=315532800 " in layer for layer in made)


@pytest.mark.parametrize(("name", "stage"), [("trainer", "cpu"), ("trainer", "gpu"), ("tensorboard", "only")])
def test_an_image_holds_its_bill_of_materials_and_not_the_tool_that_wrote_it(name: str, stage: str) -> None:
    lines = [arguments for _, arguments in stages(name)[stage]]
    assert [line.split()[-1].rpartition("/")[2] for line in lines if "--from=bill" in line] == ["sbom.cdx.json"]
    assert not [line for line in lines if "cyclonedx" in line]
    assert [line for _, line in stages(name)["bill"] if "cyclonedx-py requirements" in line]


@every_image
def test_nothing_floats_and_nothing_is_fetched_from_elsewhere(name: str) -> None:
    keywords = [keyword for keyword, _ in instructions(name)]
    assert not {"ADD", "HEALTHCHECK", "ONBUILD"} & set(keywords)
    (base,) = (arguments for keyword, arguments in instructions(name) if arguments.startswith("PYTHON_IMAGE="))
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.11\.\d+-slim-bookworm", base)
    installed = [part for _, arguments in instructions(name) for part in re.findall("pip install[^&]*", arguments)]
    assert all("--require-hashes" in each or each.strip().endswith(" .") for each in installed)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    packages = re.split(r"\n(?=\w)", text.partition("make lock\n")[2])
    assert len(packages) > 30
    assert [each for each in packages if "--hash=sha256:" not in each] == []


def _version(lock: str, package: str) -> str | None:
    found = re.search(rf"^{package}==(\S+)", (ROOT / "requirements" / f"{lock}.txt").read_text(), re.MULTILINE)
    return found and found[1]


def test_tensorboard_reads_buckets_with_the_version_that_wrote_the_logs() -> None:
    assert _version("tensorboard", "tensorboard") == _version("gpu", "tensorboard")
    assert _version("tensorboard", "gcsfs")
    assert _version("tensorboard", "boto3")
    assert _version("tensorboard", "tensorboard-data-server") is None  # it knows no workload identity
    assert _version("tensorboard", "tensorflow") is None
