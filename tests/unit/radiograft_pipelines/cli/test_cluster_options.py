"""Options and ids that cannot be meant: refused before a server is asked."""

from __future__ import annotations

import pytest

from tests.helpers.kfp_double import KfpDouble
from tests.unit.radiograft_pipelines.cluster.conftest import Radiograft


@pytest.mark.parametrize(
    "command", [("runs", "", "--wait"), ("runs", ""), ("retry", ""), ("tensorboard", "--run", "")], ids=" ".join
)
def test_an_empty_id_is_refused(radiograft: Radiograft, kfp: KfpDouble, command: tuple[str, ...]) -> None:
    """Fails where an empty id counts as none: a script whose variable is not set would wait for nothing, and go on."""
    result = radiograft(*command)
    assert result.exit_code == 2
    assert "must not be empty" in result.output
    assert kfp.asked == []


def test_waiting_needs_a_run(radiograft: Radiograft) -> None:
    """Fails where `runs --wait` lists the runs and exits with 0, which says that a run succeeded."""
    result = radiograft("runs", "--wait")
    assert result.exit_code == 2
    assert "--wait needs a RUN_ID" in result.output


@pytest.mark.parametrize(
    ("option", "value", "bound"),
    [("--limit", "0", "x>=1"), ("--limit", "-1", "x>=1"), ("--interval", "0", "x>0"), ("--interval", "-1", "x>0"),
     ("--timeout", "-1", "x>=0")],
)  # fmt: skip
def test_numbers_have_their_bounds(radiograft: Radiograft, kfp: KfpDouble, option: str, value: str, bound: str) -> None:
    """Fails where the option has no range: islice and sleep raise on a negative number after the server was asked."""
    result = radiograft("runs", option, value)
    assert result.exit_code == 2
    assert f"{value} is not in the range {bound}" in result.output.replace(".0 ", " ")
    assert kfp.asked == []
