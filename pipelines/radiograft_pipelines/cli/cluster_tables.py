"""How runs, schedules and findings look on the terminal; on none, tables are wide enough for whole ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.table import Table

from radiograft_pipelines.cli.console import SafeConsole, format_metric
from radiograft_pipelines.cluster.preflight.checks import CheckResult
from radiograft_pipelines.cluster.runs import run_result, skipped_unchanged

WIDTH = 140
MAX_CONCURRENCY = 8  # runs whose versions are looked up in the registry
SIGNS = {"good": "[green]✓[/]", "warning": "[yellow]![/]", "bad": "[red]✗[/]"}


def print_runs(found: Sequence[Any]) -> None:
    """Prints runs (kfp_server_api.V2beta1Run) with what they published."""
    table = Table("run", "started", "verdict", "version", "test AUROC", box=None, pad_edge=False)
    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        results = list(pool.map(run_result, found))
    for run, result in zip(found, results, strict=True):
        started = f"{run.created_at:%Y-%m-%d %H:%M}" if run.created_at else "-"
        auroc = format_metric(result.auroc) if result else "-"
        version = str(result) if result else "nothing new" if skipped_unchanged(run) else "-"
        table.add_row(run.run_id, started, (run.state or "PENDING").lower(), version, auroc)
    _print(table, "no runs yet")


def print_schedules(found: Iterable[Any]) -> None:
    """Prints recurring runs (kfp_server_api.V2beta1RecurringRun)."""
    table = Table("name", "cron", "state", "source", "id", box=None, pad_edge=False)
    for each in found:
        source = each.runtime_config.parameters.get("data_source", "") if each.runtime_config else ""
        state = "paused" if each.status == "DISABLED" else "active"
        table.add_row(each.display_name, each.trigger.cron_schedule.cron, state, source, each.recurring_run_id)
    _print(table, "no schedules yet")


def print_summary(console: Console, run: Any) -> None:
    """Prints how a run ended, or stands, and what it published."""
    said = f": {run.error.message}" if run.error and run.error.message else ""
    console.print(f"run {run.run_id} {(run.state or 'PENDING').lower()}{said}", markup=False, highlight=False)
    if result := run_result(run):
        console.print(f"{result}, test AUROC {format_metric(result.auroc)}", markup=False, highlight=False)
    elif skipped_unchanged(run):
        console.print("the data have not changed since an earlier version: nothing was trained", highlight=False)


def print_check(found: CheckResult) -> None:
    """Prints one of the doctor's findings with its remedy."""
    console = SafeConsole(soft_wrap=True)
    console.print(SIGNS[found.level], end=" ")
    console.print(found.what, markup=False, highlight=False)
    if found.remedy:
        console.print(f"  → {found.remedy}", markup=False, highlight=False)


def _print(table: Table, if_empty: str) -> None:
    console = SafeConsole(soft_wrap=True, width=max(SafeConsole().width, WIDTH))
    console.print(table if table.row_count else if_empty)
