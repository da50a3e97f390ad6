"""How tests are collected: the markers that `pytest -m` selects by, and one worker of pytest-xdist a file."""

from __future__ import annotations

import os
from pathlib import PurePath

import pytest

from tests.helpers.tiers import SLOW_PATHS, markers
from tests.repository import ROOT


def test_slow_paths_exist() -> None:
    assert [path for path in SLOW_PATHS if not (ROOT / "tests" / path).exists()] == []


@pytest.mark.parametrize(
    ("path", "fixtures", "expected"),
    [
        ("unit/radiograft/metrics/test_ranking.py", ["tmp_path"], set()),
        ("unit/radiograft/metrics/test_ranking.py", ["evaluation"], {"slow"}),
        ("unit/radiograft/imaging/test_real_dicom.py", ["test_data"], {"real_data"}),
        ("e2e/test_local_run.py", [], {"slow"}),
        ("images/test_dockerfiles.py", [], {"images"}),
        ("images/test_built_images.py", ["podman"], {"images", "slow"}),
        ("cluster/test_run.py", [], {"cluster", "slow"}),
        ("fuzz/test_parsers.py", ["test_data"], {"fuzz", "real_data", "slow"}),
    ],
)
def test_markers_path_and_fixtures_select_tier(path: str, fixtures: list[str], expected: set[str]) -> None:
    assert markers(PurePath(path), fixtures) == expected


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="pytest-xdist is not used")
def test_xdist_worker_gets_group_of_file(request: pytest.FixtureRequest) -> None:
    """Fails with pytest 9.2, or if the hook in conftest.py runs after pytest-xdist's."""
    assert request.node.nodeid.endswith("::test_xdist_worker_gets_group_of_file@test_collection.py")
