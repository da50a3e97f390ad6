"""Finds the iteration of a loop that a task of a run belongs to."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

ITERATION = re.compile(r"-iterations\((\d+):")  # in the name of Argo's node for one iteration of a loop


def loop_iterations(run: Any) -> dict[str, int]:
    """Returns the number of the iteration, from 0, by the IDs of the tasks that run in a loop.

    KFP lists the tasks of all iterations under the same name, but with the IDs of their children. Argo makes these IDs
    from the full names of its nodes, which contain the iteration.

    Args:
        run: kfp_server_api.V2beta1Run with its tasks.
    """
    details = (run.run_details.task_details if run.run_details else None) or []
    tasks = [task for task in details if task.display_name]
    children = _children_by_name({task.display_name for task in tasks}, {each for task in tasks for each in _ids(task)})
    iterations = {}
    for name, child_ids in children.items():
        for task in tasks:
            if task.display_name == _short(name) and child_ids & _ids(task) and (numbers := ITERATION.findall(name)):
                iterations[str(task.task_id)] = int(numbers[-1])
    return iterations


def _children_by_name(short_names: Collection[str], ids: Collection[str]) -> dict[str, set[str]]:
    """Returns the IDs of a node's children by the node's full name, for all nodes below the workflow."""
    workflow = next(iter(ids), "").rpartition("-")[0]
    children: dict[str, set[str]] = {}
    names = [workflow] if workflow else []
    for name in names:  # grows during the iteration
        below = {child: _node_id(workflow, child) for short in short_names for child in _possible_children(name, short)}
        existing = {child: node_id for child, node_id in below.items() if node_id in ids}
        children[name] = set(existing.values())
        names.extend(existing)
    return children


def _possible_children(name: str, short: str) -> list[str]:
    """Returns the full names that a node could have below another: as a task, and as an attempt or an iteration."""
    own = _short(name)
    suffix = short.removeprefix(own) if short.startswith(f"{own}(") else ""
    return [f"{name}.{short}", *([name + suffix] if suffix else [])]


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _ids(task: Any) -> set[str]:
    return {child.pod_name for child in task.child_tasks or () if child.pod_name}


def _node_id(workflow: str, name: str) -> str:
    """Returns the ID of Argo's node: the 32-bit FNV-1a hash of its full name, after the workflow's name."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = (value ^ byte) * 0x01000193 % 2**32
    return f"{workflow}-{value}"
