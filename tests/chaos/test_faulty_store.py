"""Publishing and checkpoints over a line to gs:// and s3:// on which every third request goes wrong lose nothing."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import pytest

from radiograft import storage
from radiograft.storage import retry, s3
from tests.chaos.faulty_store import flawed, keep_over, publish_over
from tests.helpers.faulty_proxy import Line

VARIABLES = {"embedded": storage.EMBEDDED_ENDPOINT_VARIABLE, "s3": "AWS_ENDPOINT_URL"}
Work = Callable[[Line, str, int], list[str]]


@pytest.fixture(params=["embedded", "s3"])
def place(request: pytest.FixtureRequest) -> str:
    """An empty prefix in gs:// or s3://."""
    return f"{request.getfixturevalue(request.param)}/{uuid.uuid4()}"


@pytest.fixture
def line(place: str) -> Iterator[Line]:
    """The line over which it is reached."""
    variable = VARIABLES["s3" if place.startswith("s3") else "embedded"]
    with flawed(os.environ[variable], variable, seed=1) as found:
        s3.client.cache_clear()
        yield found
    s3.client.cache_clear()


@pytest.mark.parametrize(("work", "count"), [(publish_over, 3), (keep_over, 20)])
def test_nothing_is_lost(line: Line, place: str, work: Work, count: int) -> None:
    assert work(line, place, count) == []
    assert line.injected.total() > 10


@pytest.mark.parametrize(("work", "count"), [(publish_over, 3), (keep_over, 20)])
def test_without_patience_the_work_is_lost(
    line: Line, place: str, work: Work, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defence of the test above, switched off."""
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.0)
    with pytest.raises(storage.StorageError):
        work(line, place, count)
