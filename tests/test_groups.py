"""Tests of a file run in one worker with pytest-xdist."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="pytest-xdist is not used")
def test_xdist_worker_gets_group_of_file(request: pytest.FixtureRequest) -> None:
    """Fails with pytest 9.2, or if the hook in conftest.py runs after pytest-xdist's."""
    assert request.node.nodeid.endswith("::test_xdist_worker_gets_group_of_file@test_groups.py")
