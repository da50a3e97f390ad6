"""TensorBoard logs of all published runs, `<registry>/_tensorboard/<model>/<date>-<run>-v<version>/<strategy>`.

One TensorBoard on that folder lists one readable name a run. The artifacts of the tasks hold the same logs, but below
ids of runs and tasks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from radiograft import storage
from radiograft.registry.version_claims import Claim
from radiograft.registry.versions import TENSORBOARD, files_below
from radiograft.storage import checksums

EVALUATION = "evaluation"  # the folder in which evaluate writes the logs of each strategy
RUN_DIGITS = 8  # of a run's id; the version number already makes the name unique
LOCAL_TIME = re.compile(r"\d{8}-\d{6}-")  # with which `radiograft run` starts its ids


def write_logs(registry: str, model: str, claim: Claim, folders: Iterable[Path]) -> str:
    """Copies the logs of a run's tasks to the registry and returns the URI of their folder.

    Another attempt of the same run replaces them.

    Args:
        claim: the claim of the version, which gives date, run and number.
        folders: log folders of the tasks, such as one with `fine_tuning/train` or with `evaluation/fine_tuning`.
    """
    uri = storage.join(registry, TENSORBOARD, model, run_name(claim))
    files = {
        _target_name(path.relative_to(folder).as_posix()): path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != checksums.NAME
    }
    storage.upload_files(files, uri)
    for entry in files_below(uri):  # of an earlier attempt, whose event files had other names
        if entry.name not in files:
            storage.delete(entry.uri)
    return uri


def run_name(claim: Claim) -> str:
    """Returns the name of a run in TensorBoard.

    Example:
        >>> run_name(Claim(3, "7958fae0-5b1c-4c1e-8a8f-d2f6a0b1c2d3", "2026-11-28T17:39:08+00:00", 2))
        '2026-11-28-7958fae0-v3'
    """
    run = LOCAL_TIME.sub("", claim.run_id, count=1)[:RUN_DIGITS]
    return f"{claim.created[:10]}-{run}-v{claim.number}"


def _target_name(name: str) -> str:
    """Moves `evaluation/<strategy>/...` to `<strategy>/evaluation/...`, next to the strategy's training curves."""
    parts = PurePosixPath(name).parts
    if parts[0] == EVALUATION and len(parts) > 2:
        parts = (parts[1], EVALUATION, *parts[2:])
    return "/".join(parts)
