"""The command line: `radiograft run`, `radiograft resume`, `radiograft settings`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from components.config import run_form
from pipelines import settings_files
from pipelines.run_form import explain

WHOLE, SEARCH = "transfer_learning", "cutoff_search"
console = Console(file=sys.stdout, soft_wrap=True)  # this stdout, not the one that stands in for it during a run


@click.group()
@click.version_option(package_name="radiograft")
def main() -> None:
    """Transfer learning for medical images on Kubeflow Pipelines. Research only, not for diagnosis."""


out_folder = click.option(
    "--out", default="runs", show_default=True, type=click.Path(path_type=Path), help="Folder of all runs."
)


@main.command()
@click.option("--settings", "settings", required=True, help="A YAML file, or one by name: demo, chestxray14, ...")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Overrides a setting; repeatable.")
@click.option(
    "--pipeline",
    default=WHOLE,
    show_default=True,
    type=click.Choice([WHOLE, SEARCH]),
    help=f"{SEARCH} fine-tunes from several cut-offs side by side: those of the settings, or all candidates.",
)
@out_folder
def run(settings: str, assignments: tuple[str, ...], pipeline: str, out: Path) -> None:
    """Runs a compiled pipeline on this machine, without Docker, on an embedded object store."""
    try:
        loaded = settings_files.load(settings)
        chosen = settings_files.for_search(loaded) if pipeline == SEARCH else loaded
        values = settings_files.complete(settings_files.override(chosen, assignments))
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    from pipelines import local_run  # KFP takes two seconds to import; a wrong setting is told at once

    _run(local_run.new_run(pipeline, values, out), out)


@main.command()
@click.argument("run_id")
@out_folder
def resume(run_id: str, out: Path) -> None:
    """Goes on with a run that was cut short, from the last epoch that it had finished."""
    _run(run_id, out)


def _run(run_id: str, out: Path) -> None:
    from pipelines import local_run

    try:
        summary = local_run.run(run_id, out, console)
    except local_run.RunFailedError as failure:
        click.echo(f"\n{failure}\nnothing was published", err=True)
        sys.exit(1)
    except (RuntimeError, FileNotFoundError) as error:  # the store did not start, or there is no such run
        raise click.ClickException(str(error)) from error
    _print_summary(summary)


@main.command("settings")
def list_settings() -> None:
    """Lists every setting with its default, choices or range and help, as a Markdown table."""
    click.echo(settings_table())


def settings_table() -> str:
    """The table of settings in the README, which a test holds equal to this."""
    rows = [f"| `{name}` | {_default(field)} | {explain(field)} |" for name, field in run_form().items()]
    return "\n".join(["| name | default | meaning |", "|---|---|---|", *rows])


def _default(field: Any) -> str:
    if field.metadata["required"]:
        return "required"
    return "empty" if field.default == "" else f"`{field.default}`"


def _print_summary(summary: dict[str, Any]) -> None:
    table = Table("", "AUROC (95 %)", "AP", "accuracy", "majority", "n (patients)", box=None, pad_edge=False)
    rows = {
        "features, val.": summary["feature_extraction"]["validation"],
        "fine-tuned, val.": summary["metrics"]["validation"],
        "features, test": summary["feature_extraction"]["test"],
        "fine-tuned, test": summary["metrics"]["test"],
    }
    for name, found in rows.items():
        low, high = found["auroc_interval"]
        table.add_row(
            name,
            f"{_figure(found['auroc'])} ({_figure(low)}-{_figure(high)})" if found["auroc"] else "not estimable",
            *(_figure(found[measure]) for measure in ("average_precision", "accuracy", "majority_accuracy")),
            f"{found['n_images']} ({found['n_patients']})",
        )
    console.print(table)
    for label, place in (
        (f"{summary['model']} version {summary['version']}", summary["version_uri"]),
        ("report", summary["report"]),
        ("TensorBoard logs", summary["tensorboard"]),
    ):
        console.print(f"[bold]{label}[/]: {place}", highlight=False)
    console.print("Research only. Not for diagnosis.")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
