"""`radiograft weights inspect`: says what a weight file is before it is used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from radiograft_pipelines.cli.console import SafeConsole, cli_errors, import_tensorflow
from radiograft_pipelines.cli.model_tables import FILE_WIDTH

if TYPE_CHECKING:
    from radiograft.models.inspection import Inspection


@click.group()
def weights() -> None:
    """Inspects files with pretrained weights."""


@weights.command("inspect")
@click.argument("file")
def inspect_file(file: str) -> None:
    """Prints the format of a weight file, the backbones that it fits, and how its input must be scaled.

    FILE is a path, a gs:// or s3:// URI, or the name of an installed package with weights, as in model_weights. Nothing
    in the file is run.
    """
    import_tensorflow()
    from radiograft.models.inspection import inspect_weights
    from radiograft.models.pretrained import open_weights

    with cli_errors(), open_weights(file) as path:
        _print_inspection(file, inspect_weights(path))


def _print_inspection(name: str, inspection: Inspection) -> None:
    facts = Table(box=None, pad_edge=False, show_header=False)
    for fact, value in (
        ("file", name),
        ("format", inspection.format),
        ("origin", inspection.family),
        ("tensors", f"{inspection.tensors:,}"),
        ("parameters", f"{inspection.parameters:,}"),
        ("input", inspection.scaling),
    ):
        facts.add_row(Text(fact), Text(value, overflow="fold"))
    console = SafeConsole(width=None if sys.stdout.isatty() else FILE_WIDTH)
    console.print(facts)
    table = Table("backbone", "fits", "missing", "misshapen", "surplus", box=None, pad_edge=False)
    for match in inspection.matches:
        counts = (match.missing, match.misshapen, match.surplus)
        table.add_row(match.backbone, "yes" if match.fits else "no", *map(str, counts))
    console.print(table)
    for match in inspection.matches:
        if not match.fits:
            click.echo(f"{match.backbone}: {match.problems}")
