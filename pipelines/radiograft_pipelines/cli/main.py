"""The command line: `radiograft run`, `resume` and `search`, and commands for models, weights, drift and clusters."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from radiograft.config import all_settings
from radiograft.config.resolution import (
    BACKBONE_COMPARISON,
    CUTOFF_SEARCH,
    HYPERPARAMETER_SEARCH,
    PIPELINES,
    RETRAINING,
    SUPER_RESOLUTION,
    TRANSFER_LEARNING,
)
from radiograft_pipelines.cli import cluster as cluster_commands
from radiograft_pipelines.cli.console import cli_errors, console, format_interval, format_metric, out_option
from radiograft_pipelines.cli.drift import drift
from radiograft_pipelines.cli.evaluate import evaluate
from radiograft_pipelines.cli.models import models
from radiograft_pipelines.cli.predict import enlarge, predict, screen
from radiograft_pipelines.cli.search import search
from radiograft_pipelines.cli.weights import weights
from radiograft_pipelines.dags.form import explain_setting
from radiograft_pipelines.local.progress import RunFailedError
from radiograft_pipelines.settings import values_for


@click.group()
@click.version_option(package_name="radiograft")
def main() -> None:
    """Transfer learning for medical images on Kubeflow Pipelines. Research only, not for diagnosis."""


models.add_command(predict)
models.add_command(screen)
models.add_command(enlarge)
main.add_command(models)
main.add_command(evaluate)
main.add_command(drift)
main.add_command(search)
main.add_command(weights)
for command in cluster_commands.COMMANDS:
    main.add_command(command)


@main.command()
@click.option("--settings", "settings", required=True, help="YAML file, or a preset: demo, chestxray14, ...")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Overrides a setting; repeatable.")
@click.option(
    "--pipeline",
    default=TRANSFER_LEARNING,
    show_default=True,
    type=click.Choice(PIPELINES),
    help=f"{RETRAINING} trains only if data or settings changed; {CUTOFF_SEARCH} tries several cut-offs in parallel; "
    f"{BACKBONE_COMPARISON} trains several backbones; {HYPERPARAMETER_SEARCH} searches settings, then trains with the "
    f"best; {SUPER_RESOLUTION} (experimental) trains an enlarging network.",
)
@out_option
def run(settings: str, assignments: tuple[str, ...], pipeline: str, out: Path) -> None:
    """Runs a compiled pipeline on this machine, without Docker, with an embedded object store."""
    _start(pipeline, settings, assignments, out)


def _start(pipeline: str, settings: str, assignments: tuple[str, ...], out: Path) -> None:
    with cli_errors():
        values = values_for(pipeline, settings, assignments)
        from radiograft_pipelines.local import runner

        run_id = runner.new_run_id(pipeline, values, out)
    _run(run_id, out)


@main.command()
@click.option("--backbones", required=True, metavar="NAME,NAME", help="Backbones to compare, separated by commas.")
@click.option("--settings", "settings", required=True, help="YAML file, or a preset: demo, chestxray14, ...")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Overrides a setting; repeatable.")
@out_option
def compare(backbones: str, settings: str, assignments: tuple[str, ...], out: Path) -> None:
    """Trains several backbones on the same data and publishes the best on validation, with one report."""
    _start(BACKBONE_COMPARISON, settings, (*assignments, f"compare_backbones={backbones}"), out)


@main.command()
@click.argument("run_id")
@out_option
def resume(run_id: str, out: Path) -> None:
    """Resumes an interrupted run from its last finished epoch."""
    _run(run_id, out)


def _run(run_id: str, out: Path) -> None:
    from radiograft_pipelines.local import runner

    with cli_errors():
        try:
            summary = runner.run_pipeline(run_id, out, console)
        except RunFailedError as failure:
            click.echo(f"\n{failure}\nnothing was published", err=True)
            sys.exit(1)
    if "super_resolution" in summary:
        _print_generator(summary)
    elif summary["trained"]:
        _print_summary(summary)
    else:
        console.print(f"{escape(summary['reason'])}: nothing was trained", highlight=False)


@main.command("settings")
def list_settings() -> None:
    """Lists all settings with default, help, and choices or range, as a Markdown table."""
    click.echo(settings_table())


def settings_table() -> str:
    """Returns the table of settings that the README contains."""
    rows = [f"| `{name}` | {_default(field)} | {explain_setting(field)} |" for name, field in all_settings().items()]
    return "\n".join(["| name | default | meaning |", "|---|---|---|", *rows])


def _default(field: Any) -> str:
    if field.metadata["required"]:
        return "required"
    return "empty" if field.default == "" else f"`{field.default}`"


def _print_summary(summary: dict[str, Any]) -> None:
    rows = {
        "features, val.": summary["feature_extraction"]["validation"],
        "fine-tuned, val.": summary["metrics"]["validation"],
        "features, test": summary["feature_extraction"]["test"],
        "fine-tuned, test": summary["metrics"]["test"],
    }
    console.print(_target_table(rows) if "mae" in rows["fine-tuned, test"] else _metrics_table(rows))
    for label, value in (
        (f"{summary['model']} version {summary['version']}", summary["version_uri"]),
        (summary["standing"], summary["reason"]),
        ("report", summary["report"]),
        ("data report", summary["data_report"]),
        ("TensorBoard logs", summary["tensorboard"]),
        *([("search", f"{search}/search.html")] if (search := summary.get("search")) else []),
    ):
        console.print(f"[bold]{label}[/]: {escape(value)}", highlight=False)
    console.print("Research only. Not for diagnosis.")


def _print_generator(summary: dict[str, Any]) -> None:
    """Prints the outcome of a super-resolution run."""
    results = summary["super_resolution"]
    table = Table("", "PSNR (95%)", "SSIM", "MS-SSIM", "energy ratio", box=None, pad_edge=False)
    for method in ("ours", "projected", "bicubic"):
        means = {metric: each[method]["mean"] for metric, each in results["metrics"].items()}
        psnr = means.pop("psnr")
        others = (format_metric(mean["value"]) for mean in means.values())
        table.add_row(method, format_interval(psnr["value"], psnr["low"], psnr["high"]), *others)
    console.print(table)
    flagged = f"{len(results['flagged'])} of {results['n_images']} test images are flagged"
    for label, value in (
        (f"{summary['model']} version {summary['version']}", summary["version_uri"]),
        ("added energy", flagged),
        ("report", summary["report"]),
        ("data report", summary["data_report"]),
    ):
        console.print(f"[bold]{label}[/]: {escape(value)}", highlight=False)
    console.print("Experimental. Research only. Not for diagnosis.")


def _metrics_table(rows: Mapping[str, dict[str, Any]]) -> Table:
    table = Table("", "AUROC (95%)", "AP", "accuracy", "majority", "n (patients)", box=None, pad_edge=False)
    for name, metrics in rows.items():
        table.add_row(
            name,
            format_interval(metrics["auroc"], *metrics["auroc_interval"]),
            *(format_metric(metrics[metric]) for metric in ("average_precision", "accuracy", "majority_accuracy")),
            f"{metrics['n_images']} ({metrics['n_patients']})",
        )
    return table


def _target_table(rows: Mapping[str, dict[str, Any]]) -> Table:
    """Returns the mean R² and, for each target, the mean absolute error beside that of the median of training."""
    targets = list(rows["fine-tuned, test"]["mae"])
    errors = [heading for target in targets for heading in (f"MAE {target} (95%)", "median")]
    table = Table("", "R² (95%)", *errors, "n (patients)", box=None, pad_edge=False)
    for name, metrics in rows.items():
        cells = [
            cell
            for target in targets
            for cell in (
                format_interval(metrics["mae"][target], *metrics["mae_interval"][target]),
                format_metric(metrics["baseline_mae"][target]),
            )
        ]
        count = f"{metrics['n_images']} ({metrics['n_patients']})"
        table.add_row(name, format_interval(metrics["r2"], *metrics["r2_interval"]), *cells, count)
    return table


if __name__ == "__main__":
    main()
