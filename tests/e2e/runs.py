"""The results of finished runs, for the tests that check them."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
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
SECRETS = {  # in the environment of every run, which must not reveal them
    "RADIOGRAFT_SALT": "a-salt-that-nobody-sees",
    "AWS_ACCESS_KEY_ID": "AKIAQUACKENBUSH12345",
    "AWS_SECRET_ACCESS_KEY": "a-key/that+nobody/sees",
    "RADIOGRAFT_DICOMWEB_PASSWORD": "a-password-that-nobody-sees",
    "RADIOGRAFT_DICOMWEB_TOKEN": "a-bearer-token-that-nobody-sees",
    "KFP_TOKEN": "eyJhbGciOiJub25lIn0.a-token-that-nobody-sees",
}


@dataclass(frozen=True)
class Run:
    """A successful run: its output and summary."""

    output: str
    summary: dict[str, Any]

    @property
    def artifacts(self) -> Path:
        return Path(self.summary["artifacts"])

    @property
    def tasks(self) -> Counter[str]:
        """How often each task finished."""
        return Counter(line.split()[1] for line in self.output.splitlines() if line.startswith("✓"))


@dataclass(frozen=True)
class TwoRuns:
    """Two runs with the same settings into one folder.

    Attributes:
        between: Files of version 1 after the first run and before the second.
    """

    out: Path
    first: Run
    second: Run
    between: dict[str, bytes]

    @property
    def store(self) -> Path:
        return self.out / "store"


def read_version(out: Path, number: int) -> dict[str, bytes]:
    """Returns the files of a version by name from the embedded store of a runs folder."""
    with embedded_store(out / "store"):
        entries = storage.list_files(f"{REGISTRY}/{MODEL}/{number}")
        return {entry.name: storage.read_bytes(entry.uri) for entry in entries}
