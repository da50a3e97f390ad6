"""Prints runs, schedules and check results as tables. Redirected output is wide enough for whole IDs."""

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
MAX_CONCURRENCY = 8  # runs whose versions are read from the registry at the same time
SIGNS = {"good": "[green]✓[/]", "warning": "[yellow]![/]", "bad": "[red]✗[/]"}


def print_runs(runs: Sequence[Any]) -> None:
    """Prints runs (kfp_server_api.V2beta1Run) with the versions that they published."""
    table = Table("run", "started", "state", "version", "test AUROC", box=None, pad_edge=False)
    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        results = list(pool.map(run_result, runs))
    for run, result in zip(runs, results, strict=True):
        started = f"{run.created_at:%Y-%m-%d %H:%M}" if run.created_at else "-"
        auroc = format_metric(result.auroc) if result else "-"
        version = str(result) if result else "nothing new" if skipped_unchanged(run) else "-"
        table.add_row(run.run_id, started, _state(run), version, auroc)
    _print(table, "no runs yet")


def print_schedules(schedules: Iterable[Any]) -> None:
    """Prints recurring runs (kfp_server_api.V2beta1RecurringRun)."""
    table = Table("name", "cron", "state", "source", "id", box=None, pad_edge=False)
    for schedule in schedules:
        config = schedule.runtime_config
        source = config.parameters.get("data_source", "") if config else ""
        state = "paused" if schedule.status == "DISABLED" else "active"
        cron = schedule.trigger.cron_schedule.cron
        table.add_row(schedule.display_name, cron, state, source, schedule.recurring_run_id)
    _print(table, "no schedules yet")


def print_summary(console: Console, run: Any) -> None:
    """Prints a run's state, and the version that it published."""
    error = f": {run.error.message}" if run.error and run.error.message else ""
    console.print(f"run {run.run_id} {_state(run)}{error}", markup=False, highlight=False)
    if result := run_result(run):
        console.print(f"{result}, test AUROC {format_metric(result.auroc)}", markup=False, highlight=False)
    elif skipped_unchanged(run):
        console.print("the data have not changed since an earlier version: nothing was trained", highlight=False)


def print_check(result: CheckResult) -> None:
    """Prints the result of a preflight check, with its remedy."""
    console = SafeConsole(soft_wrap=True)
    console.print(SIGNS[result.level], end=" ")
    console.print(result.message, markup=False, highlight=False)
    if result.remedy:
        console.print(f"  → {result.remedy}", markup=False, highlight=False)


def _state(run: Any) -> str:
    return (run.state or "PENDING").lower()


def _print(table: Table, if_empty: str) -> None:
    console = SafeConsole(soft_wrap=True, width=max(SafeConsole().width, WIDTH))
    console.print(table if table.row_count else if_empty)
