"""`radiograft doctor` on a real cluster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.conftest import Radiograft


def test_doctor_small_run_passes(radiograft: Radiograft, run_options: tuple[str, ...]) -> None:
    output = radiograft("doctor", *run_options).stdout
    assert "✓ KFP 2.17" in output
    assert "✓ every task's pod fits on one of " in output
    assert "has the service account 'radiograft'" in output


def test_doctor_registry_is_checked(radiograft: Radiograft, run_options: tuple[str, ...], bucket: str) -> None:
    if bucket.startswith("s3://") and "AWS_ENDPOINT_URL" not in os.environ:
        pytest.skip(f"{bucket} cannot be reached from here")
    output = radiograft("doctor", *run_options).stdout
    (line,) = (line for line in output.splitlines() if f"the registry {bucket}/registry " in line)
    # SeaweedFS supports conditional writes since 3.97; some releases of KFP ship an older one
    assert "is writable and supports conditional writes" in line or "accepted a conditional write against" in line


def test_doctor_missing_resources_fail(radiograft: Radiograft, run_options: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("gpus: 64\nimage_pull_secrets: [no-such-secret]\n")
    result = radiograft("doctor", *run_options, "--cluster", str(file), "--service-account", "nobody")
    assert result.exit_code == 1
    assert ": no node has 64 allocatable nvidia.com/gpu; allocatable: " in result.stdout
    assert "has no secret 'no-such-secret'" in result.stdout
    assert "has no service account 'nobody'" in result.stdout


def test_doctor_kfp_unreachable_fails(radiograft: Radiograft, run_options: tuple[str, ...]) -> None:
    result = radiograft("doctor", *run_options, "--host", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "✗ http://127.0.0.1:1 cannot be reached" in result.stdout
