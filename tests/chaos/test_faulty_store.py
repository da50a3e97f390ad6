"""Publishing and checkpoints lose nothing although every third request to gs:// and s3:// fails."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import pytest

from radiograft import storage
from radiograft.storage import retry, s3
from tests.chaos.faulty_store import faulty_line, publish_versions, save_checkpoints
from tests.helpers.faulty_proxy import Line

VARIABLES = {"embedded": storage.EMBEDDED_ENDPOINT_VARIABLE, "s3": "AWS_ENDPOINT_URL"}
Work = Callable[[Line, str, int], list[str]]


@pytest.fixture(params=["embedded", "s3"])
def place(request: pytest.FixtureRequest) -> str:
    """An empty prefix in gs:// or s3://."""
    return f"{request.getfixturevalue(request.param)}/{uuid.uuid4()}"


@pytest.fixture
def line(place: str) -> Iterator[Line]:
    """A faulty proxy in front of the object store of `place`."""
    variable = VARIABLES["s3" if place.startswith("s3") else "embedded"]
    with faulty_line(os.environ[variable], variable, seed=1) as line:
        s3.client.cache_clear()
        yield line
    s3.client.cache_clear()


@pytest.mark.parametrize(("work", "count"), [(publish_versions, 3), (save_checkpoints, 20)])
def test_work_with_failing_requests_loses_nothing(line: Line, place: str, work: Work, count: int) -> None:
    assert work(line, place, count) == []
    assert line.injected.total() > 10


@pytest.mark.parametrize(("work", "count"), [(publish_versions, 3), (save_checkpoints, 20)])
def test_work_without_retries_raises(
    line: Line, place: str, work: Work, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: without retries, the same faults are errors."""
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.0)
    with pytest.raises(storage.StorageError):
        work(line, place, count)
