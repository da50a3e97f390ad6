"""What a run leaves, in a form in which two runs of the same settings can be held equal, and what is wrong with it."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import zipfile
from pathlib import Path
from typing import Any

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.storage import checksums
from radiograft_pipelines.local.object_store import embedded_store
from radiograft_pipelines.local.progress import STARTED

MODEL = "chest-radiograph"
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\+00:00)?")
ADDRESS = re.compile(rb'"shared_object_id": \d+')
EPOCH = re.compile(r"\| ([a-z ]+: epoch \d+ of \d+)")
# What two runs of the same settings differ in: wall-clock times in TensorBoard's logs; their folders in KFP's notes;
# times and addresses in .keras files, whose SHA-256 stand in SHA256SUMS; the order in which a SavedModel's functions
# were traced. Of .keras files the rest is compared, of SavedModels the variables.
DIFFERENT = re.compile(rf".*/logs/.*|.*/executor_output\.json|.*(saved_model|fingerprint)\.pb|.*{checksums.NAME}")


def digests(summary: dict[str, Any], out: Path) -> dict[str, str]:
    """SHA-256 of every artifact and every file of the version that the run published, without its folder and times."""
    artifacts, folder = Path(summary["artifacts"]), str(out.absolute() / summary["run_id"])
    files = {
        path.relative_to(artifacts).as_posix(): path.read_bytes() for path in artifacts.rglob("*") if path.is_file()
    }
    with embedded_store(out / "store"):
        for entry in storage.list_files(summary["version_uri"]):
            if entry.name != registry.MANIFEST:  # holds the others' SHA-256; `flaws` compares them
                files[f"version/{entry.name}"] = storage.read_bytes(entry.uri)
    return {name: _digest(name, data, folder) for name, data in files.items() if not DIFFERENT.fullmatch(name)}


def flaws(place: str, model: str) -> list[str]:
    """What a reader of the registry would find wrong at this moment."""
    found = []
    for number in registry.list_versions(place, model):
        try:
            registry.verify_version(place, model, number)
        except (ValueError, OSError) as error:
            found.append(str(error))
    current = production.read_production(place, model)
    if current and current.version not in registry.list_versions(place, model):
        found.append(f"version {current.version} is in production, but not in the registry")
    return found


def left_over(place: str, model: str) -> list[str]:
    """Versions beside the first, and checkpoints, that a finished run has left behind."""
    kept = [entry.name for entry in storage.list_files(storage.join(place, registry.CHECKPOINTS))]
    return [*(f"version {number}" for number in registry.list_versions(place, model) if number != 1), *kept]


def repeated_epochs(said: str) -> int:
    """How many epochs at most were trained again, of those that the attempt before finished in its last stage.

    Args:
        said: the log of all attempts.
    """
    attempts = said.split("Executing task 'ingest'")[1:]
    pairs = ((STARTED.split(one)[-1], other) for one, other in itertools.pairwise(attempts))
    return max((len(set(EPOCH.findall(one)) & set(EPOCH.findall(other))) for one, other in pairs), default=0)


def _digest(name: str, data: bytes, folder: str) -> str:
    if name.endswith(".keras"):
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            data = ADDRESS.sub(b"", zipped.read("config.json")) + zipped.read("model.weights.h5")
    elif not name.endswith((".parquet", ".tfrecord", ".npy", ".png")):
        text = data.decode("latin-1").replace(folder, "RUN").replace(Path(folder).name, "RUN")
        data = TIME.sub("TIME", text).encode()
    return hashlib.sha256(data).hexdigest()
