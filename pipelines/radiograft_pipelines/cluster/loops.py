"""Distinguishes the tasks of a loop, which KFP lists under the same name."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NamedTuple

ITERATION = re.compile(r"(.*-iterations)\((\d+):\d+\)")  # the full name of Argo's node for one iteration of a loop


class Iteration(NamedTuple):
    """Number of an iteration, from 1, and number of iterations of the loop."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number} of {self.total}"


def loop_iterations(run: Any) -> dict[str, Iteration]:
    """Returns the iteration of each task that runs in a loop, by the ID of the task.

    KFP gives each task the IDs of its children. Argo makes these IDs from the full names of its nodes, which contain
    the iteration. A task that has not started, or whose loop has only one iteration, is left out.

    Args:
        run: kfp_server_api.V2beta1Run with its tasks.
    """
    details = (run.run_details.task_details if run.run_details else None) or []
    tasks = [task for task in details if task.display_name]
    children = _children_by_name({task.display_name for task in tasks}, {each for task in tasks for each in _ids(task)})
    loops = [match[1] for name in children if (match := ITERATION.fullmatch(name))]
    iterations: dict[str, Iteration] = {}
    for name, child_ids in children.items():
        if (match := ITERATION.match(name)) and (count := loops.count(match[1])) > 1:
            own = (task for task in tasks if task.display_name == _short(name) and child_ids & _ids(task))
            iterations |= {str(task.task_id): Iteration(int(match[2]) + 1, count) for task in own}
    return iterations


def _children_by_name(short_names: Collection[str], ids: Collection[str]) -> dict[str, set[str]]:
    """Returns the IDs of a node's children by the node's full name, for all nodes below the workflow."""
    workflow = next(iter(ids), "").rpartition("-")[0]
    children: dict[str, set[str]] = {}
    nodes = [(workflow, _fnv_1a(workflow))] if workflow else []
    for name, value in nodes:  # grows during the iteration
        endings = [ending for short in short_names for ending in _possible_endings(name, short)]
        below = {name + ending: _fnv_1a(ending, value) for ending in endings}
        existing = {child: number for child, number in below.items() if f"{workflow}-{number}" in ids}
        children[name] = {f"{workflow}-{number}" for number in existing.values()}
        nodes.extend(existing.items())
    return children


def _possible_endings(name: str, short: str) -> list[str]:
    """Returns what the full name of a node would add to that of another: as a task, and as an attempt or iteration."""
    own = _short(name)
    return [f".{short}", *([short.removeprefix(own)] if short.startswith(f"{own}(") else [])]


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _ids(task: Any) -> set[str]:
    return {child.pod_name for child in task.child_tasks or () if child.pod_name}


def _fnv_1a(text: str, value: int = 0x811C9DC5) -> int:
    """Returns the 32-bit FNV-1a hash of a text, or of what `value` is the hash of followed by it.

    An Argo node's ID is the name of its workflow and the hash of its own full name.
    """
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 % 2**32
    return value
