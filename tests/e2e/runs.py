"""What a finished run leaves, for the tests that look at it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radiograft import storage
from radiograft.storage import EMBEDDED_BUCKET
from radiograft_pipelines.local.object_store import embedded_store

BUCKET = f"gs://{EMBEDDED_BUCKET}"
REGISTRY = f"{BUCKET}/registry"
MODEL = "chest-radiograph"
SCRIPT = shutil.which("radiograft", path=str(Path(sys.executable).parent)) or "radiograft"
SECRETS = {  # that every run has in its environment, and must keep to itself
    "RADIOGRAFT_SALT": "a-salt-that-nobody-sees",
    "AWS_ACCESS_KEY_ID": "AKIAQUACKENBUSH12345",
    "AWS_SECRET_ACCESS_KEY": "a-key/that+nobody/sees",
    "KFP_TOKEN": "eyJhbGciOiJub25lIn0.a-token-that-nobody-sees",
}


@dataclass(frozen=True)
class Run:
    """A run that ended well: what it printed, and its summary."""

    output: str
    summary: dict[str, Any]

    @property
    def artifacts(self) -> Path:
        return Path(self.summary["artifacts"])


@dataclass(frozen=True)
class TwoRuns:
    """Two runs with the same settings into the same folder; `between` is version 1 as the second one found it."""

    out: Path
    first: Run
    second: Run
    between: dict[str, bytes]

    @property
    def store(self) -> Path:
        return self.out / "store"


def read_version(out: Path, number: int) -> dict[str, bytes]:
    """A version's files by name, through the object store of a folder of runs."""
    with embedded_store(out / "store"):
        entries = storage.list_files(f"{REGISTRY}/{MODEL}/{number}")
        return {entry.name: storage.read_bytes(entry.uri) for entry in entries}
