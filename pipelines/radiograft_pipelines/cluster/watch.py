"""Watches a run: a live table on a terminal, otherwise one line per change, and pod issues as soon as they appear."""

from __future__ import annotations

import datetime
import time
from collections import Counter
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
from radiograft_pipelines.cluster.loops import Iteration, loop_iterations
from radiograft_pipelines.cluster.pod_diagnosis import PodIssue, diagnose_pods

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
COLORS = {
    "succeeded": "green", "cached": "green", "failed": "red", "canceled": "red", "terminated": "red",
    "running": "cyan", "skipped": "dim", "blocked": "yellow", "failed, in backoff": "yellow",
}  # fmt: skip


class TaskState(NamedTuple):
    """The state of a task.

    Attributes:
        name: name of the task.
        state: its state in KFP's terms.
        seconds: its duration, up to now if it has not ended.
        cached: whether KFP took its result from an earlier run. Such a task has no pod.
        iteration: its iteration, such as `1 of 2`, in a loop with several; None for other tasks.
    """

    name: str
    state: str
    seconds: float
    cached: bool
    iteration: Iteration | None = None

    @property
    def label(self) -> str:
        """The name, with the iteration if there is one."""
        return f"{self.name} ({self.iteration})" if self.iteration else self.name


def read_run(server: KfpClient, run_id: str) -> Any:
    """Returns a run (kfp_server_api.V2beta1Run).

    Raises:
        ClusterError: the run does not exist, or KFP cannot be reached.
    """
    return server.call(f"run {run_id}", server.runs.run_service_get_run, run_id=run_id)


def is_terminated(run: Any) -> bool:
    """Returns whether a user terminated a run that has not been retried. KFP ends such a run as FAILED."""
    earlier = [status.state for status in run.state_history or () if status.state not in (None, "FAILED")]
    return run.state in ("CANCELING", "CANCELED") or (run.state == "FAILED" and earlier[-1:] == ["CANCELING"])


def watch_run(server: KfpClient, cluster: KubernetesClient | None, run_id: str, console: Console, every: float) -> Any:
    """Shows a run until it has ended, and returns it.

    Args:
        cluster: where the run's pods are diagnosed; None skips the diagnosis.
        every: polling interval in seconds.
    """
    find_issues = _issue_finder(cluster, console)
    shown: dict[tuple[str, int], str] = {}
    printed: set[object] = set()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            run = read_run(server, run_id)
            tasks, issues = task_states(run), find_issues(run)
            if console.is_terminal:
                live.update(_board(tasks, issues), refresh=True)
            else:
                _print_changes(console, tasks, issues, shown)
            print_issues(console, issues, printed)
            if run.state in ENDED:
                break
            time.sleep(every)
    console.print(_board(tasks, issues))
    return run


def show_board(run: Any, cluster: KubernetesClient | None, console: Console) -> None:
    """Prints the current state of a run's tasks, and the issues of its pods."""
    tasks, issues = task_states(run), _issue_finder(cluster, console)(run)
    console.print(_board(tasks, issues))
    print_issues(console, issues, set())


def task_states(run: Any) -> list[TaskState]:
    """Returns the states of a run's tasks, in the order in which they started.

    KFP also lists Argo's internal nodes. These are left out.
    """
    details = (run.run_details.task_details if run.run_details else None) or []
    tasks = [task for task in details if package.task_name(task.display_name or "")]
    iterations = loop_iterations(run)
    tasks.sort(
        key=lambda task: (not _is_set(task.start_time), str(task.start_time), iterations.get(task.task_id) or ())
    )
    cached = {task.start_time for task in details if task.display_name == "executor" and task.state == "SKIPPED"}
    return [
        TaskState(
            str(package.task_name(task.display_name)),
            task.state or "PENDING",
            _seconds(task),
            cached=task.state == "SUCCEEDED" and task.start_time == task.end_time and task.start_time in cached,
            iteration=iterations.get(task.task_id),
        )
        for task in tasks
    ]


def print_issues(console: Console, issues: list[PodIssue], printed: set[object]) -> None:
    """Prints the issues that are not in `printed`, and adds them to it."""
    for issue in issues:
        key = (issue.task, issue.remedy or issue.message)
        if key not in printed:
            printed.add(key)
            console.print(Text.assemble((issue.task, "bold"), f": {issue.message}"), style="yellow")
            if issue.remedy:
                console.print(f"  → {issue.remedy}", highlight=False, markup=False)


def _issue_finder(cluster: KubernetesClient | None, console: Console) -> Callable[[Any], list[PodIssue]]:
    """Returns a function that diagnoses a run's pods. If they cannot be read, it warns once and returns no issues."""
    readable = cluster is not None

    def find_issues(run: Any) -> list[PodIssue]:
        nonlocal readable
        if cluster is None or not readable:
            return []
        try:
            return diagnose_pods(cluster, run.run_id, terminated=is_terminated(run))
        except ClusterError as error:
            readable = False
            console.print(f"pods cannot be diagnosed: {error}", style="dim", markup=False, highlight=False)
            return []

    return find_issues


def _print_changes(
    console: Console, tasks: list[TaskState], issues: list[PodIssue], shown: dict[tuple[str, int], str]
) -> None:
    """Prints the tasks whose state is not the one in `shown`, and updates it. Tasks of a loop share a name."""
    counts: Counter[str] = Counter()
    for task in tasks:
        key, state = (task.name, counts[task.name]), _shown_state(task, issues)
        counts[task.name] += 1
        if shown.get(key) != state:
            shown[key] = state
            console.print(f"{task.label} {state}", markup=False, highlight=False)


def _board(tasks: list[TaskState], issues: list[PodIssue]) -> Table:
    table = Table("task", "state", "time", box=None, pad_edge=False)
    for task in tasks:
        state = _shown_state(task, issues)
        duration = str(datetime.timedelta(seconds=round(task.seconds)))
        table.add_row(task.label, Text(state, style=COLORS.get(state, "")), duration)
    return table


def _shown_state(task: TaskState, issues: list[PodIssue]) -> str:
    """Returns a task's state. KFP reports a blocked task, and a failed one in its backoff, as running."""
    found = next((issue.state for issue in issues if issue.task == task.name), None)
    if found == "terminated" and task.state != "SUCCEEDED":
        return "terminated"
    if found and task.state in ("PENDING", "RUNNING"):
        return "failed, in backoff" if found == "failed" else "blocked"
    return "cached" if task.cached else task.state.lower()


def _seconds(task: Any) -> float:
    if not _is_set(task.start_time):
        return 0.0
    end = task.end_time if _is_set(task.end_time) else datetime.datetime.now(datetime.UTC)
    return float((end - task.start_time).total_seconds())


def _is_set(time: datetime.datetime | None) -> bool:
    """Returns whether KFP reports a time. A time that is not known yet is None, or in the year 1 or 1970."""
    return time is not None and time.year > 1970
