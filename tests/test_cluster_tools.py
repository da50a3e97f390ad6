"""The base of the tests on a cluster, tested without one: the script for kind, the reader of the metadata store."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf.struct_pb2 import Struct

from tests.helpers.metadata_store import fields, metric_names
from tests.repository import ROOT

SCRIPT = ROOT / "tests" / "cluster" / "kind.sh"
COMMANDS = ("kind", "kubectl", "make", "curl")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to which kind, kubectl, make and curl append their arguments. `make` fails if MAKE_FAILS is set."""
    log = tmp_path / "calls"
    log.touch()
    for name in COMMANDS:
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(
            f'#!/bin/bash\necho "{name} $*" >> {log}\n'
            '[[ "$*" == "get nodes"* ]] && echo node/one\n[[ "$*" == *port-forward* ]] && exec sleep 60\n'
            f'[[ {name} == make && -n "${{MAKE_FAILS:-}}" ]] && exit 3\nexit 0\n'
        )
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return log


def _run(step: str) -> int:
    return subprocess.run([SCRIPT, step], check=False, capture_output=True, timeout=60).returncode


def test_kind_up_offers_gpus_before_kfp_and_loads_the_image(calls: Path) -> None:
    assert _run("up") == 0
    lines = calls.read_text().splitlines()
    steps = (
        "kind create cluster",
        "kubectl patch node/one",
        "kubectl apply -k",
        "make image",
        "kind load docker-image",
    )
    first = [next(number for number, line in enumerate(lines) if line.startswith(step)) for step in steps]
    assert first == sorted(first)
    patch = lines[first[1]].partition("--patch ")[2]
    assert yaml.safe_load(patch) == [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "2"}]
    assert sum("?ref=2.17.0" in line for line in lines) == 2


@pytest.mark.parametrize(("failure", "code"), [("", 0), ("1", 3)])
def test_kind_test_returns_result_and_ends_port_forward(
    calls: Path, monkeypatch: pytest.MonkeyPatch, failure: str, code: int
) -> None:
    """Fails if the result of the tests is lost, or if a port-forward keeps the script running."""
    monkeypatch.setenv("MAKE_FAILS", failure)
    assert _run("test") == code
    assert "make test-cluster" in calls.read_text().splitlines()


def test_kind_unknown_step_is_rejected(calls: Path) -> None:
    assert _run("sideways") == 2
    assert calls.read_text() == ""


def test_nightly_workflow_and_document_use_the_script() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "cluster-nightly.yaml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["kind"]["steps"] if "run" in step]
    used = [step for step in steps if step.startswith("tests/cluster/kind.sh")]
    assert used == [f"tests/cluster/kind.sh {step}" for step in ("up", "test", "test", "down")]
    document = (ROOT / "docs" / "development" / "cluster.md").read_text()
    assert all(f"$ {step}" in document for step in used)


def test_fields_are_those_of_protobuf() -> None:
    struct = Struct()
    struct.update({"auroc": 0.5, "long": "x" * 300})
    entries = [dict(fields(value)) for number, value in fields(struct.SerializeToString()) if number == 1]
    assert {entry[1]: len(entry[2]) for entry in entries} == {b"auroc": 9, b"long": 303}


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def test_metric_names_are_those_of_the_run() -> None:
    def artifact(uri: bytes, *names: bytes) -> bytes:
        properties = b"".join(_field(5, _field(1, name) + _field(2, b"\x11" + bytes(8))) for name in names)
        return _field(1, b"\x08\x96\x01" + _field(3, uri) + properties)

    response = artifact(b"s3://b/run-1/evaluate/metrics", b"auroc_test", b"display_name")
    response += artifact(b"s3://b/run-1/publish/metrics", b"version") + artifact(b"s3://b/run-2/metrics", b"other")
    assert metric_names(response, "run-1") == {"auroc_test", "version"}
