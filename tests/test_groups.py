"""That tests which share what is dear are together, where several processes run them."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_a_worker_gets_the_tests_of_a_file_together(request: pytest.FixtureRequest) -> None:
    """Fails with pytest 9.2, and with the hook in conftest.py called after pytest-xdist's."""
    assert request.node.nodeid.endswith("::test_a_worker_gets_the_tests_of_a_file_together@test_groups.py")
