"""`python -m tests.soak [NAME ...]`: years of schedules and loads in minutes; prints a table and writes it as JSON."""

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
@click.option(
    "--schedules", "count", type=COUNT, default=100, show_default=True, help="How often the pipeline is scheduled."
)
@click.option(
    "--moves", type=COUNT, default=1000, show_default=True, help="How often production moves in each kind of store."
)
@click.option(
    "--races", type=COUNT, default=3, show_default=True, help="How often 32 publish at once in each kind of store."
)
@click.option("--seed", default=0, show_default=True, help="What archive, moves and rollbacks are drawn with.")
def main(names: tuple[str, ...], count: int, moves: int, races: int, seed: int) -> None:
    """Run all soaks or those named; ends with 1 where anything went wrong."""
    start, rows = time.monotonic(), []
    for name in names or NAMES:
        with tempfile.TemporaryDirectory(prefix="radiograft-soak-") as folder:
            if name == "schedules":
                rows.append(schedules.measure(Path(folder), count, seed, tell))
            elif name == "moves":
                rows += registry_load.measure_moves(Path(folder), moves, seed, tell)
            else:
                rows += registry_load.measure_races(Path(folder), races, seed, tell)
    seconds = round(time.monotonic() - start)
    write(rows, seconds)
    console.print(table(rows))
    for wrong in (wrong for row in rows for wrong in row.wrong):
        console.print(f"[red]wrong[/]: {wrong}", highlight=False)
    console.print(f"{seconds} s, written to {LATEST}")
    raise SystemExit(any(row.wrong for row in rows))


def tell(line: str) -> None:
    """Prints progress."""
    console.print(line, highlight=False, markup=False)


def write(rows: list[Row], seconds: int) -> None:
    """Writes the rows as JSON."""
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps({"seconds": seconds, "rows": [dataclasses.asdict(row) for row in rows]}, indent=2))


def table(rows: list[Row]) -> Table:
    """One line a soak."""
    found = Table("soak", *(Column(title, justify="right") for title in ("done", "wrong", "seed")), "details")
    for row in rows:
        details = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.details.items())
        found.add_row(row.name, f"{row.done}", f"{len(row.wrong)}", "" if row.seed is None else f"{row.seed}", details)
    return found


if __name__ == "__main__":
    main()
