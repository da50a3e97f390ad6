"""What the commands share: the terminal they print to, the folder of the runs, how failures and figures are told."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from radiograft.utils.text import escape_control_characters


class SafeConsole(Console):
    """A console that shows control characters in foreign text and does not have the terminal obey them."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for part in super().render(renderable, options):
            yield part if part.control else Segment(escape_control_characters(part.text), part.style)


console = SafeConsole(file=sys.stdout, soft_wrap=True)  # this stdout, not the one that stands in for it during a run
out_option = click.option(
    "--out", default="runs", show_default=True, type=click.Path(path_type=Path), help="Folder of all runs."
)


@contextlib.contextmanager
def cli_errors() -> Iterator[None]:
    """Turns what a user can mend (settings, files, registry, cluster) into one message and exit code 1."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise click.ClickException(escape_control_characters(str(error))) from error


def format_metric(value: float | None) -> str:
    """Three decimals, or a dash for what could not be estimated."""
    return "-" if value is None else f"{value:.3f}"


def format_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A figure with its interval."""
    return "not estimable" if value is None else f"{format_metric(value)} ({format_metric(low)}-{format_metric(high)})"
