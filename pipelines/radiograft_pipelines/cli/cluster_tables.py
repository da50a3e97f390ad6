"""Prints runs, schedules and check results as tables. Redirected output is wide enough for whole rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from radiograft_pipelines.cli.console import SafeConsole, format_metric
from radiograft_pipelines.cluster.cron import Cron
from radiograft_pipelines.cluster.preflight.checks import CheckResult
from radiograft_pipelines.cluster.run_states import LOST, RunState, state_word
from radiograft_pipelines.cluster.runs import RunResult, run_result, skipped_unchanged
from radiograft_pipelines.cluster.schedule_deletion import Unfinished
from radiograft_pipelines.cluster.schedules import ScheduleResult, replaced_ids

WIDTH, REDIRECTED_WIDTH = 140, 1000  # minimum of characters; a redirected row stays on one line
MAX_CONCURRENCY = 8  # runs whose versions are read from the registry at the same time
SIGNS = {"good": "[green]✓[/]", "warning": "[yellow]![/]", "bad": "[red]✗[/]"}


def print_runs(runs: Sequence[Any], states: Sequence[RunState]) -> None:
    """Prints runs (kfp_server_api.V2beta1Run) with the versions that they published, or why they did not."""
    table = Table("run", "started", "state", "test AUROC", "version or reason", box=None, pad_edge=False)
    with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
        results = list(pool.map(run_result, runs))
    for run, state, result in zip(runs, states, results, strict=True):
        started = f"{run.created_at:%Y-%m-%d %H:%M}" if run.created_at else "-"
        auroc = _metric(result).removeprefix("AUROC ") if result else "-"
        version = str(result) if result else "nothing new" if skipped_unchanged(run) else "-"
        table.add_row(run.run_id, started, state.word, auroc, Text(state.reason or version))
    _print(table, "no runs yet")
    if any(state.word == LOST for state in states):
        click.echo("radiograft runs --forget removes lost runs from the list")


def print_schedules(schedules: Sequence[Any]) -> None:
    """Prints recurring runs (kfp_server_api.V2beta1RecurringRun)."""
    table = Table("name", "cron", "state", "source", "id", box=None, pad_edge=False)
    replaced = replaced_ids(schedules)
    for schedule in schedules:
        config = schedule.runtime_config
        source = config.parameters.get("data_source", "") if config else ""
        state = "paused" if schedule.status == "DISABLED" else "active"
        state = "replaced" if schedule.recurring_run_id in replaced else state
        cron = schedule.trigger.cron_schedule.cron
        table.add_row(schedule.display_name, cron, state, source, schedule.recurring_run_id)
    _print(table, "no schedules yet")


def print_schedule_change(name: str, cron: Cron, result: ScheduleResult, unfinished: Unfinished) -> None:
    """Prints what a command did to a schedule, and what becomes of unfinished runs of the schedule that it replaced."""
    paused = ", still paused" if result.paused else ""
    click.echo(f"schedule {name}: {result.change}{paused} ({cron.text}, {result.recurring_run_id})")
    if unfinished == "now":
        print_lost_runs(result.unfinished)
        return
    for run in result.unfinished:
        click.echo(
            f"run {run.run_id} of the replaced schedule continues, and KFP keeps that schedule, disabled: "
            f"the next command for {name} after the run's end deletes it; --wait waits for it"
        )


def print_lost_runs(runs: Iterable[Any]) -> None:
    """Prints what was lost with a schedule that was deleted during a run."""
    for run in runs:
        click.echo(
            f"run {run.run_id} is lost: Kubernetes deletes its pods with the schedule, and KFP will report it as "
            f"{state_word(run)} forever; remove it with radiograft runs {run.run_id} --forget"
        )


def _metric(result: RunResult) -> str:
    """Returns the name and the value of the metric that a run's version is listed with."""
    return f"AUROC {format_metric(result.auroc)}" if result.r2 is None else f"R² {format_metric(result.r2)}"


def print_summary(console: Console, run: Any, state: RunState) -> None:
    """Prints a run's state, and the version that it published."""
    error = run.error.message if run.error and run.error.message else ""
    reason = state.reason if state.word == LOST else error
    console.print(f"run {run.run_id} {state.word}{': ' if reason else ''}{reason}", markup=False, highlight=False)
    if state.word == LOST:
        console.print(f"  → remove it with radiograft runs {run.run_id} --forget", highlight=False)
    if result := run_result(run):
        console.print(f"{result}, test {_metric(result)}", markup=False, highlight=False)
    elif skipped_unchanged(run):
        console.print("the data have not changed since an earlier version: nothing was trained", highlight=False)


def print_check(result: CheckResult) -> None:
    """Prints the result of a preflight check, with its remedy."""
    console = SafeConsole(soft_wrap=True)
    console.print(SIGNS[result.level], end=" ")
    console.print(result.message, markup=False, highlight=False)
    if result.remedy:
        console.print(f"  → {result.remedy}", markup=False, highlight=False)


def _print(table: Table, if_empty: str) -> None:
    console = SafeConsole(soft_wrap=True)
    console.width = max(console.width, WIDTH) if console.is_terminal else REDIRECTED_WIDTH
    console.print(table if table.row_count else if_empty)
