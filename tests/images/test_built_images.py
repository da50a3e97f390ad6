"""The built images: unprivileged, read-only, offline, with exactly the locked packages."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from radiograft.config.resolution import fill_form
from radiograft.stages.ingest.resolve import OUTPUTS
from radiograft_pipelines.dags.tasks import USER
from radiograft_pipelines.settings import fill_defaults
from tests.helpers.packages import tasks
from tests.repository import ROOT

pytestmark = pytest.mark.usefixtures("podman")  # also of tests that name their image, so that one worker builds both

Run = Callable[..., "subprocess.CompletedProcess[str]"]
INSTALLED = """
import importlib.metadata, json
print(json.dumps({dist.name: dist.version for dist in importlib.metadata.distributions()}))
"""
MARKERS = {"python_version": "3.11", "python_full_version": "3.11.2", "platform_machine": "x86_64"}


def _locked(lock: str) -> dict[str, str]:
    """Returns the names and versions that a lock file has for the platform of the image."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    requirements = [Requirement(line.removesuffix("\\")) for line in text.splitlines() if re.match(r"\w", line)]
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement in requirements
        if not requirement.marker or requirement.marker.evaluate(MARKERS)
    }


@pytest.mark.parametrize(
    ("image", "lock", "own"),
    [("trainer", "cpu", {"radiograft": "0.1.0"}), ("tensorboard", "tensorboard", {})],
)
def test_image_has_exactly_locked_packages(
    request: pytest.FixtureRequest, image: str, lock: str, own: dict[str, str]
) -> None:
    run: Run = request.getfixturevalue(f"in_{image}")
    installed = json.loads(run("python3", "-c", INSTALLED).stdout)
    assert {canonicalize_name(name): version for name, version in installed.items()} == _locked(lock) | own


@pytest.mark.parametrize(
    ("image", "lock", "path"),
    [
        ("trainer", "cpu", "/opt/radiograft/sbom.cdx.json"),
        ("tensorboard", "tensorboard", "/opt/tensorboard/sbom.cdx.json"),
    ],
)
def test_bill_of_materials_lists_locked_packages(
    request: pytest.FixtureRequest, image: str, lock: str, path: str
) -> None:
    run: Run = request.getfixturevalue(f"in_{image}")
    bill = json.loads(run("cat", path).stdout)
    assert bill["bomFormat"] == "CycloneDX"
    listed = {canonicalize_name(package["name"]): package["version"] for package in bill["components"]}
    assert listed == _locked(lock)
    assert all(package["purl"].startswith("pkg:pypi/") for package in bill["components"])


def test_user_can_write_only_to_tmp(in_trainer: Run) -> None:
    done = in_trainer("sh", "-c", "id -u; pwd; touch /tmp/here; touch /there /opt/radiograft/there")
    assert done.stdout == f"{USER}\n/tmp\n"
    assert done.stderr.count("Read-only file system") == 2


def test_image_runs_as_any_user(in_trainer: Run) -> None:
    done = in_trainer("radiograft", "settings", options=("--user", "4242:4242"))
    assert done.returncode == 0, done.stderr
    assert "publish_registry" in done.stdout


def test_image_runs_compiled_task(in_trainer: Run) -> None:
    """Runs `ingest` on synthetic images with the command of the compiled package."""
    command = tasks("transfer_learning")["ingest"].container["command"]
    arguments = tasks("transfer_learning")["ingest"].container["args"]
    executor_input = json.dumps(_executor_input())
    words = [executor_input if word == "{{$}}" else word for word in [*command, *arguments]]
    done = in_trainer(*words, options=("--env", "RADIOGRAFT_PROMISED_GPUS=0"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "images" in done.stdout


def _executor_input() -> dict[str, object]:
    uris = {"data_source": "/tmp/films", "publish_registry": "/tmp/registry"}
    settings = fill_defaults({**uris, "data_format": "phantom", "data_phantom_patients": 20})
    catalog = {"name": "catalog", "type": {"schemaTitle": "system.Dataset"}, "uri": "/tmp/out/catalog"}
    page = {"name": "resolved_settings", "type": {"schemaTitle": "system.Markdown"}, "uri": "/tmp/out/settings"}
    return {
        "inputs": {"parameterValues": {"run_id": "run-1", "pipeline": "transfer_learning", **fill_form(settings)}},
        "outputs": {
            "artifacts": {"catalog": {"artifacts": [catalog]}, "resolved_settings": {"artifacts": [page]}},
            "parameters": {name: {"outputFile": f"/tmp/out/{name}"} for name in ("Output", *OUTPUTS)},
            "outputFile": "/tmp/out/executor_output.json",
        },
    }


def test_tensorboard_image_reads_buckets(in_tensorboard: Run) -> None:
    script = "import boto3, fsspec; print('gs' in fsspec.get_filesystem_class('gs').protocol)"
    assert in_tensorboard("python3", "-c", script).stdout == "True\n"
    assert in_tensorboard("tensorboard", "--version").stdout.strip() == _locked("tensorboard")["tensorboard"]
