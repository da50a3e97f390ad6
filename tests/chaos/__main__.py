"""`python -m tests.chaos [NAME ...]`: injects faults, prints the losses and writes them as JSON."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table

from tests.benchmarks import machine
from tests.chaos import faulty_store, full_disk, kills
from tests.chaos.row import Row

LATEST = Path("runs/faults/latest.json")
FAULTS: dict[str, Callable[..., list[Row]]] = {
    "kills": kills.measure,
    "disk": full_disk.measure,
    "store": faulty_store.measure,
}
console = Console()


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(FAULTS)))
@click.option(
    "--kills", type=click.IntRange(min=1), default=50, show_default=True, help="Number of times that a run is killed."
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="Minutes after which runs are no longer killed.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of moments and faults.")
def main(names: tuple[str, ...], **options: float) -> None:
    """Inject all faults, or those named. Exits with 1 if anything was lost."""
    description, rows = machine.describe(), []
    with tempfile.TemporaryDirectory(prefix="radiograft-faults-") as work:
        for name in names or FAULTS:
            console.print(f"injecting: {name}")
            rows += FAULTS[name](Path(work), **options)
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps({"machine": description, "rows": [dataclasses.asdict(row) for row in rows]}, indent=2))
    console.print(table(rows))
    for loss in (loss for row in rows for loss in row.losses):
        console.print(f"[red]lost[/]: {loss}", highlight=False)
    console.print(f"written to {LATEST}")
    raise SystemExit(any(row.losses for row in rows))


def table(rows: list[Row]) -> Table:
    """Returns a table with one row per kind of fault."""
    result = Table("fault", *(Column(title, justify="right") for title in ("injected", "losses", "seed")), "details")
    for row in rows:
        details = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.details.items())
        result.add_row(
            row.name, f"{row.faults}", f"{len(row.losses)}", "" if row.seed is None else f"{row.seed}", details
        )
    return result


if __name__ == "__main__":
    main()
