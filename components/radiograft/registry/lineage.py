"""Where a version comes from: run, data, settings and seeds, code, image, and the version it may succeed."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radiograft.registry.version_claims import Claim

PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "numpy", "kfp")
COMMIT_VARIABLE = "RADIOGRAFT_COMMIT"  # of an image's build, where the sources have no history
IMAGE_VARIABLE = "RADIOGRAFT_RUNNING_IMAGE"  # set by the compiled pipeline: a container does not know its own image


def collect_lineage(found: Mapping[str, Any], claim: Claim) -> dict[str, Any]:
    """The lineage of a version.

    Args:
        found: what the evaluation knows: `source` and `fingerprint` of the data, `settings` by name.
    """
    return {
        "run_id": claim.run_id,
        "created": claim.created,
        "parent": claim.parent,
        **found,
        "seeds": {name: value for name, value in found["settings"].items() if name.endswith("_seed")},
        "code": {"version": _installed("radiograft"), "commit": os.environ.get(COMMIT_VARIABLE) or _commit()},
        "packages": {name: version for name in PACKAGES if (version := _installed(name))},
        "image": os.environ.get(IMAGE_VARIABLE),
    }


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the sources, `-dirty` where they were changed; None where they have no history."""
    sources = Path(__file__).parents[3]
    if not (sources / ".git").exists():  # installed somewhere below another repository
        return None
    command = ["git", "-C", str(sources), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
