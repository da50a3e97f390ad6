"""The command lines of `python -m tests.chaos`, `tests.fuzz` and `tests.soak`."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from tests.chaos.__main__ import main as faults
from tests.fuzz.__main__ import main as fuzz
from tests.soak.__main__ import main as soak


@pytest.mark.parametrize("value", ["0", "-1"])
@pytest.mark.parametrize(
    ("command", "option"),
    [(fuzz, "--minutes"), (faults, "--minutes"), (faults, "--kills"), (soak, "--moves"), (soak, "--races")],
)
def test_main_option_not_positive_is_rejected(command: click.Command, option: str, value: str) -> None:
    """Otherwise nothing would run, and the summary would report no failures."""
    done = CliRunner().invoke(command, [option, value])
    assert done.exit_code == 2
    assert f"Invalid value for '{option}': {value}" in done.output
