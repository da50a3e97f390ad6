"""What the commands share: the terminal they print to, the folder of the runs, how failures and figures are told."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

console = Console(file=sys.stdout, soft_wrap=True)  # this stdout, not the one that stands in for it during a run
out_folder = click.option(
    "--out", default="runs", show_default=True, type=click.Path(path_type=Path), help="Folder of all runs."
)


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turns what a user can mend (settings, files, registry, cluster) into one message and exit code 1."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error


def figure(value: float | None) -> str:
    """Three decimals, or a dash for what could not be estimated."""
    return "-" if value is None else f"{value:.3f}"


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """A figure with its interval."""
    return "not estimable" if value is None else f"{figure(value)} ({figure(low)}-{figure(high)})"
