"""Invalid options and IDs are rejected before any request is sent."""

from __future__ import annotations

import pytest

from tests.helpers.kfp_double import KfpDouble
from tests.unit.radiograft_pipelines.conftest import Radiograft


@pytest.mark.parametrize(
    "command", [("runs", "", "--wait"), ("runs", ""), ("retry", ""), ("tensorboard", "--run", "")], ids=" ".join
)
def test_run_id_empty_is_rejected(radiograft: Radiograft, kfp: KfpDouble, command: tuple[str, ...]) -> None:
    """Fails if an empty ID counts as a missing one: a script with an unset variable would not wait for its run."""
    result = radiograft(*command)
    assert result.exit_code == 2
    assert "must not be empty" in result.output
    assert kfp.requests == []


def test_runs_wait_without_run_id_is_rejected(radiograft: Radiograft) -> None:
    """Fails if `runs --wait` lists the runs and exits with 0, which would mean that a run succeeded."""
    result = radiograft("runs", "--wait")
    assert result.exit_code == 2
    assert "--wait needs a RUN_ID" in result.output


@pytest.mark.parametrize(
    ("option", "value", "bound"),
    [("--limit", "0", "x>=1"), ("--limit", "-1", "x>=1"), ("--interval", "0", "x>0"), ("--interval", "-1", "x>0"),
     ("--timeout", "-1", "x>=0")],
)  # fmt: skip
def test_option_out_of_range_raises(
    radiograft: Radiograft, kfp: KfpDouble, option: str, value: str, bound: str
) -> None:
    """Fails if the option has no range: islice and sleep raise on a negative number after requests were sent."""
    result = radiograft("runs", option, value)
    assert result.exit_code == 2
    assert f"{value} is not in the range {bound}" in result.output.replace(".0 ", " ")
    assert kfp.requests == []
