"""`python -m tests.soak [NAME ...]`: simulates years of schedules and load in minutes; writes a table and JSON."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table

from tests.soak import registry_load, schedules
from tests.soak.row import Row

LATEST = Path("runs/soak/latest.json")
NAMES = ("moves", "races", "schedules")
console = Console(soft_wrap=True)
COUNT = click.IntRange(min=1)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--schedules", "count", type=COUNT, default=100, show_default=True, help="Number of scheduled runs.")
@click.option(
    "--moves", type=COUNT, default=1000, show_default=True, help="Number of production changes per kind of store."
)
@click.option(
    "--races", type=COUNT, default=3, show_default=True, help="Number of races of 32 publishers per kind of store."
)
@click.option("--seed", default=0, show_default=True, help="Seed of archive, changes and rollbacks.")
def main(names: tuple[str, ...], count: int, moves: int, races: int, seed: int) -> None:
    """Run all soak tests, or those named. Exits with 1 if there was an error."""
    start, rows = time.monotonic(), []
    for name in names or NAMES:
        with tempfile.TemporaryDirectory(prefix="radiograft-soak-") as folder:
            if name == "schedules":
                rows.append(schedules.measure(Path(folder), count, seed, print_progress))
            elif name == "moves":
                rows += registry_load.measure_moves(Path(folder), moves, seed, print_progress)
            else:
                rows += registry_load.measure_races(Path(folder), races, seed, print_progress)
    seconds = round(time.monotonic() - start)
    write(rows, seconds)
    console.print(table(rows))
    for error in (error for row in rows for error in row.errors):
        console.print(f"[red]error[/]: {error}", highlight=False)
    console.print(f"{seconds} s, written to {LATEST}")
    raise SystemExit(any(row.errors for row in rows))


def print_progress(line: str) -> None:
    """Prints progress."""
    console.print(line, highlight=False, markup=False)


def write(rows: list[Row], seconds: int) -> None:
    """Writes the rows as JSON."""
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps({"seconds": seconds, "rows": [dataclasses.asdict(row) for row in rows]}, indent=2))


def table(rows: list[Row]) -> Table:
    """Returns a table with one row per soak test."""
    result = Table("soak", *(Column(title, justify="right") for title in ("count", "errors", "seed")), "details")
    for row in rows:
        details = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.details.items())
        seed = "" if row.seed is None else f"{row.seed}"
        result.add_row(row.name, f"{row.count}", f"{len(row.errors)}", seed, details)
    return result


if __name__ == "__main__":
    main()
