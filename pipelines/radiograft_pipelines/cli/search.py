"""The command `radiograft search`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from radiograft.config.resolution import HYPERPARAMETER_SEARCH
from radiograft.config.search_space import PRESETS
from radiograft.registry.search_types import SearchResults
from radiograft_pipelines.cli.console import cli_errors, console, format_interval, format_metric, out_option
from radiograft_pipelines.settings import values_for


@click.command()
@click.option("--settings", "settings", help="YAML file, or a preset: demo, chestxray14, ...")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Overrides a setting; repeatable.")
@click.option("--space", help=f"Preset of search_space: {', '.join(PRESETS)}.")
@click.option("--resume", "run_id", metavar="RUN", help="Continues an interrupted search.")
@out_option
def search(
    settings: str | None, assignments: tuple[str, ...], space: str | None, run_id: str | None, out: Path
) -> None:
    """Searches hyperparameters on this machine and writes the best settings and a report.

    The settings that start with search_ give what is searched and the budget. The winner is chosen on validation and
    compared with the given settings. `radiograft run --settings RUN/best.yaml` trains and publishes it.
    """
    from radiograft_pipelines.local import search as local
    from radiograft_pipelines.local.progress import RunFailedError

    if (run_id is None) == (settings is None):
        raise click.UsageError("give --settings for a new search, or --resume RUN for an interrupted one")
    with cli_errors():
        if settings is not None:
            added = (*assignments, *([f"search_space={space}"] if space else []))
            run_id = local.new_search(values_for(HYPERPARAMETER_SEARCH, settings, added), out)
        try:
            results = local.run_search(str(run_id), out, console)
        except RunFailedError as failure:
            click.echo(f"\n{failure}", err=True)
            sys.exit(1)
    _print_results(results, out / str(run_id))


def _print_results(results: SearchResults, folder: Path) -> None:
    table = Table("", f"mean {results['metric']}", "seeds", "settings", box=None, pad_edge=False)
    for place, finalist in enumerate(results["finalists"]):
        name = "default settings" if finalist["trial"] is None else f"trial {finalist['trial']}"
        overrides = ", ".join(f"{setting}={value}" for setting, value in finalist["overrides"].items())
        mark = " (winner)" if place == results["winner"] else ""
        table.add_row(name + mark, format_metric(finalist["mean"]), str(len(finalist["metrics"])), escape(overrides))
    console.print(table)
    for split, comparison in results["comparison"].items():
        difference = comparison["auroc"]["difference"]
        if difference:
            text = format_interval(difference["value"], difference["low"], difference["high"])
            console.print(f"AUROC of the winner minus that of the default settings, {split}: {text}", highlight=False)
    console.print(f"[bold]report[/]: {escape(str(folder / 'search.html'))}", highlight=False, soft_wrap=True)
    command = f"radiograft run --settings {folder / 'best.yaml'}"
    console.print(f"[bold]next[/]: {escape(command)}", highlight=False, soft_wrap=True)
    console.print("Research only. Not for diagnosis.")
