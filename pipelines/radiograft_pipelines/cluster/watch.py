"""Follows a run: a live table on a terminal, a line a change elsewhere, and what holds the run as soon as it shows."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from radiograft_pipelines.cluster import package
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import KfpClient
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.pod_diagnosis import PodIssue, diagnose_pods

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
COLORS = {"SUCCEEDED": "green", "FAILED": "red", "CANCELED": "red", "RUNNING": "cyan", "SKIPPED": "dim"}


class TaskState(NamedTuple):
    """A task's name, KFP's word for its state, and seconds since it began, or that it took."""

    name: str
    state: str
    seconds: float


def read_run(server: KfpClient, run_id: str) -> Any:
    """The run as KFP gives it (kfp_server_api.V2beta1Run).

    Raises:
        ClusterError: there is no such run, or KFP cannot be reached.
    """
    return server.call(f"run {run_id}", server.runs.run_service_get_run, run_id=run_id)


def watch_run(server: KfpClient, cluster: KubernetesClient | None, run_id: str, console: Console, every: float) -> Any:
    """Shows a run until it has ended and returns it.

    Args:
        cluster: where its pods are read; None: they are not.
        every: seconds between two looks.
    """
    held = _once_readable(cluster, run_id, console)
    told: set[object] = set()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            run = read_run(server, run_id)
            tasks, found = task_states(run), held()
            if console.is_terminal:
                live.update(_board(tasks, found), refresh=True)
            else:
                _print_changes(console, tasks, told)
            print_issues(console, found, told)
            if run.state in ENDED:
                break
            time.sleep(every)
    console.print(_board(tasks, []))
    return run


def show_board(run: Any, cluster: KubernetesClient | None, console: Console) -> None:
    """Prints a run's tasks as they are now, and what holds or ended them."""
    tasks, found = task_states(run), _once_readable(cluster, run.run_id, console)()
    console.print(_board(tasks, found))
    print_issues(console, found, set())


def task_states(run: Any) -> list[TaskState]:
    """The run's tasks in the order in which they began; KFP lists Argo's inner nodes too, which are left out."""
    ours = package.task_names()
    details = (run.run_details.task_details if run.run_details else None) or []
    shown = [each for each in details if each.display_name in ours]
    shown.sort(key=lambda each: (not _duration(each.start_time), str(each.start_time)))
    return [TaskState(ours[each.display_name], each.state or "PENDING", _seconds(each)) for each in shown]


def print_issues(console: Console, found: list[PodIssue], told: set[object]) -> None:
    """Prints what was not printed before."""
    for hold in found:
        if (hold.task, hold.remedy) not in told:
            told.add((hold.task, hold.remedy))
            console.print(Text.assemble((hold.task, "bold"), f": {hold.said}"), style="yellow")
            if hold.remedy:
                console.print(f"  → {hold.remedy}", highlight=False, markup=False)


def _once_readable(cluster: KubernetesClient | None, run_id: str, console: Console) -> Callable[[], list[PodIssue]]:
    """Reads what holds the run; that pods cannot be read is said once and stops nothing."""
    unreadable = cluster is None

    def held() -> list[PodIssue]:
        nonlocal unreadable
        if cluster is None or unreadable:
            return []
        try:
            return diagnose_pods(cluster, run_id)
        except ClusterError as error:
            unreadable = True
            console.print(f"what holds pods cannot be told: {error}", style="dim", markup=False, highlight=False)
            return []

    return held


def _print_changes(console: Console, tasks: list[TaskState], told: set[object]) -> None:
    for number, task in enumerate(tasks):
        if (number, task.state) not in told:
            told.add((number, task.state))
            console.print(f"{task.name} {task.state.lower()}", markup=False, highlight=False)


def _board(tasks: list[TaskState], found: list[PodIssue]) -> Table:
    table = Table("task", "state", "time", box=None, pad_edge=False)
    waiting = {hold.task for hold in found}
    for task in tasks:
        state = "held" if task.name in waiting and task.state in ("PENDING", "RUNNING") else task.state.lower()
        style = "yellow" if state == "held" else COLORS.get(task.state, "")
        table.add_row(task.name, Text(state, style=style), str(datetime.timedelta(seconds=round(task.seconds))))
    return table


def _seconds(task: Any) -> float:
    if not _duration(task.start_time):
        return 0.0
    ended = task.end_time if _duration(task.end_time) else datetime.datetime.now(datetime.UTC)
    return float((ended - task.start_time).total_seconds())


def _duration(time: datetime.datetime | None) -> bool:
    """KFP gives no time, the year 1 or 1970 for what has not been yet."""
    return time is not None and time.year > 1970
