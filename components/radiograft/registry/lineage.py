"""The lineage of a version: run, data, settings and seeds, code, container image and parent version."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radiograft.registry.version_claims import Claim

PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "numpy", "kfp")
COMMIT_VARIABLE = "RADIOGRAFT_COMMIT"  # set when an image is built, because its sources have no Git history
IMAGE_VARIABLE = "RADIOGRAFT_RUNNING_IMAGE"  # set by the compiled pipeline: a container does not know its own image


def collect_lineage(evaluated: Mapping[str, Any], claim: Claim) -> dict[str, Any]:
    """Collects the lineage of a version.

    Args:
        evaluated: the lineage that evaluation recorded: `source` and `fingerprint` of the data, and `settings` by name.
    """
    return {
        "run_id": claim.run_id,
        "created": claim.created,
        "parent": claim.parent,
        **evaluated,
        "seeds": {name: value for name, value in evaluated["settings"].items() if name.endswith("_seed")},
        "code": {"version": _package_version("radiograft"), "commit": os.environ.get(COMMIT_VARIABLE) or _git_commit()},
        "packages": {name: version for name in PACKAGES if (version := _package_version(name))},
        "image": os.environ.get(IMAGE_VARIABLE),
    }


def _package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Returns the commit of the sources, with `-dirty` if they are modified; None if they have no Git history."""
    sources = Path(__file__).parents[3]
    if not (sources / ".git").exists():  # may be installed below an unrelated repository
        return None
    command = ["git", "-C", str(sources), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
