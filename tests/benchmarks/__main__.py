"""`python -m tests.benchmarks [NAME ...]`: compares Radiograft with baselines; prints a table and writes JSON."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import keras
import tensorflow as tf
from rich.console import Console
from rich.table import Column, Table

from tests.benchmarks import (
    catalog,
    class_map,
    crops,
    curve,
    decoding,
    epoch,
    flops,
    frozen_pass,
    intervals,
    machine,
    memory,
    reading,
    recipe,
    reduced_jpeg,
    search,
    similar_images,
    super_resolution,
    trials,
    views,
)
from tests.benchmarks.row import Row

LATEST = Path("runs/bench/latest.json")
# In order: recipe slows down benchmarks that run after it in the same process. Memory, intervals, catalog and
# near_duplicates start processes of their own.
BENCHMARKS: dict[str, Callable[[Path], list[Row]]] = {
    "flops": flops.measure,
    "decoding": decoding.measure,
    "reduced_jpeg": reduced_jpeg.measure,
    "reading": reading.measure,
    "curve": curve.measure,
    "epoch": epoch.measure,
    "class_map": class_map.measure,
    "crops": crops.measure,
    "views": views.measure,
    "search": search.measure,
    "recipe": recipe.measure,
    "memory": memory.measure,
    "intervals": intervals.measure,
    "catalog": catalog.measure,
    "near_duplicates": similar_images.measure,
}
ON_REQUEST: dict[str, Callable[[Path], list[Row]]] = {  # only if named
    "million": lambda work: catalog.measure_million(work) + similar_images.measure_million(work),
    "backbones": curve.measure_backbones,
    "frozen_pass": frozen_pass.measure,
    "trials_head": trials.measure_head,
    "trials_cut_offs": trials.measure_cut_offs,
    "super_resolution_2": functools.partial(super_resolution.measure, scale=2),  # half an hour each
    "super_resolution_4": functools.partial(super_resolution.measure, scale=4),
}
console = Console()


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*BENCHMARKS, *ON_REQUEST]))
@click.option(
    "--whole", is_flag=True, help="Run every epoch of the Keras baseline of `recipe`: about 20 minutes on two cores."
)
def main(names: tuple[str, ...], whole: bool) -> None:
    """Run the named benchmarks, or all but those for a name only: 20 minutes on two idle cores."""
    tf.get_logger().setLevel("ERROR")  # hides retracing warnings: each turn retraces on purpose
    selected = {name: (BENCHMARKS | ON_REQUEST)[name] for name in names or BENCHMARKS}
    if whole and "recipe" in selected:
        selected["recipe"] = functools.partial(recipe.measure, timed_epochs=recipe.EPOCHS)
    machine_info, rows = machine.describe(), []
    with tempfile.TemporaryDirectory(prefix="radiograft-bench-") as work:
        for name, measure in selected.items():
            console.print(f"measuring {name}, load average {os.getloadavg()[0]:.1f}")
            rows += measure(Path(work))
            keras.backend.clear_session()
    write(rows, machine_info, LATEST)
    console.print(table(rows))
    for how in dict.fromkeys(row.how for row in rows):
        console.print(f"- {how}")
    console.print(", ".join(f"{name} {value}" for name, value in machine_info.items()))
    console.print(f"written to {LATEST}")


def write(rows: list[Row], machine_info: dict[str, str | int | float], path: Path) -> None:
    """Writes the machine and the rows as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine_info, "rows": [dataclasses.asdict(row) for row in rows]}, indent=2))


def table(rows: list[Row]) -> Table:
    """Builds a table with one line per row. The ratio is green or red if the row has a floor."""
    rendered = Table(
        "name", "unit", *(Column(title, justify="right") for title in ("ours", "theirs", "ratio", "floor"))
    )
    colors = {True: "green", False: "red", None: "default"}
    for row in rows:
        limit = "" if row.floor is None else f"{'at least' if row.higher_is_better else 'at most'} {row.floor:g}"
        ratio = f"[{colors[row.holds()]}]{row.ratio:,.2f}[/]"
        rendered.add_row(row.name, row.unit, f"{row.ours:,.2f}", f"{row.theirs:,.2f}", ratio, limit)
    return rendered


if __name__ == "__main__":
    main()
