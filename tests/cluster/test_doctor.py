"""The doctor on a real cluster: what is there is good, what is not is told with its remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.conftest import Radiograft


def test_the_cluster_is_fit_for_the_small_run(radiograft: Radiograft, order: tuple[str, ...]) -> None:
    told = radiograft("doctor", *order).stdout
    assert "✓ KFP 2.17" in told
    assert "✓ every task's pod fits on one of " in told
    assert "has the service account 'radiograft'" in told


def test_the_registry_is_tried(radiograft: Radiograft, order: tuple[str, ...], bucket: str) -> None:
    if bucket.startswith("s3://") and "AWS_ENDPOINT_URL" not in os.environ:
        pytest.skip(f"{bucket} cannot be reached from here")
    told = radiograft("doctor", *order).stdout
    (line,) = (line for line in told.splitlines() if f"the registry {bucket}/registry " in line)
    # SeaweedFS knows conditional writes since 3.97, and some releases of KFP bring an older one
    assert "is writable and compares before it swaps" in line or "let a write through that was not up to date" in line


def test_what_the_cluster_lacks_is_told(radiograft: Radiograft, order: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("gpus: 64\nimage_pull_secrets: [no-such-secret]\n")
    result = radiograft("doctor", *order, "--cluster", str(file), "--service-account", "nobody")
    assert result.exit_code == 1
    assert ": no node has 64 allocatable nvidia.com/gpu; there are: " in result.stdout
    assert "has no secret 'no-such-secret'" in result.stdout
    assert "has no service account 'nobody'" in result.stdout


def test_a_kfp_that_cannot_be_reached_is_told(radiograft: Radiograft, order: tuple[str, ...]) -> None:
    result = radiograft("doctor", *order, "--host", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "✗ http://127.0.0.1:1 cannot be reached" in result.stdout
