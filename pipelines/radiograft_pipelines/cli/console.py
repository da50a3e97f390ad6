"""What the commands share: the console, the `--out` option, error handling, and number formats."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from radiograft.utils.text import escape_control_characters

Command = Callable[..., None]


class SafeConsole(Console):
    """A console that escapes control characters in text from outside, so that they cannot control the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for part in super().render(renderable, options):
            yield part if part.control else Segment(escape_control_characters(part.text), part.style)


console = SafeConsole(file=sys.stdout, soft_wrap=True)  # the real stdout, which a local run replaces meanwhile
out_option = click.option(
    "--out", default="runs", show_default=True, type=click.Path(path_type=Path), help="Folder of all runs."
)


def report_option(default: str, content: str) -> Callable[[Command], Command]:
    """Adds the option for a report, which is a `content` and has its results beside it."""
    return click.option(
        "--report",
        default=default,
        show_default=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"{content}. The results are also written beside it as .json.",
    )


@contextlib.contextmanager
def cli_errors() -> Iterator[None]:
    """Reports an error that a user can fix (settings, files, registry, cluster) as one message with exit code 1."""
    try:
        yield
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise click.ClickException(escape_control_characters(str(error))) from error


def import_tensorflow() -> None:
    """Imports TensorFlow without its startup messages, and limits its later messages to errors.

    While TensorFlow is imported, its C++ libraries write to file descriptor 2 whatever `TF_CPP_MIN_LOG_LEVEL` says, so
    the descriptor is redirected. Python's own exceptions still reach the caller.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), 2)
        importlib.import_module("tensorflow")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


def format_metric(value: float | None) -> str:
    """Formats a value with three decimals, or as a dash if it could not be estimated."""
    return "-" if value is None else f"{value:.3f}"


def format_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Formats a value with its confidence interval, if it has one."""
    if value is None:
        return "not estimable"
    return (
        format_metric(value) if low is None else f"{format_metric(value)} ({format_metric(low)}-{format_metric(high)})"
    )
