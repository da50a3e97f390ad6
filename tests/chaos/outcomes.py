"""Digests of the outputs of a run, comparable between runs of the same settings, and errors in the registry."""

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
from radiograft_pipelines.local.progress import TASK_STARTED

MODEL = "chest-radiograph"
TIME = re.compile(  # the last is the date in the name of a TensorBoard folder, which changes at midnight
    r"\d{4}(-\d\d){5}-\d+|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\+00:00)?|\d{4}-\d\d-\d\d(?=-RUN-v\d)"
)
ADDRESS = re.compile(rb'"shared_object_id": \d+')
EPOCH = re.compile(r"\| ([a-z ]+: epoch \d+ of \d+)")
# Files that differ between runs of the same settings: TensorBoard logs contain times, KFP's outputs contain folders,
# SHA256SUMS contain digests of .keras files, and the order of a SavedModel's functions varies. Of .keras files, times
# and addresses are ignored. The variables of SavedModels are compared.
IGNORED = re.compile(
    rf".*/(logs|tensorboard)/.*|.*/executor_output\.json|.*(saved_model|fingerprint)\.pb|.*{checksums.NAME}"
)


def digests(summary: dict[str, Any], out: Path) -> dict[str, str]:
    """Returns the SHA-256 of every artifact and every file of the published version, ignoring folders and times."""
    artifacts, folder = Path(summary["artifacts"]), str(out.absolute() / summary["run_id"])
    files = {
        path.relative_to(artifacts).as_posix(): path.read_bytes() for path in artifacts.rglob("*") if path.is_file()
    }
    with embedded_store(out / "store"):
        for entry in storage.list_files(summary["version_uri"]):
            if entry.name != registry.MANIFEST:  # contains the digests of the others, which `registry_errors` verifies
                files[f"version/{entry.name}"] = storage.read_bytes(entry.uri)
    return {name: _digest(name, data, folder) for name, data in files.items() if not IGNORED.fullmatch(name)}


def registry_errors(place: str, model: str) -> list[str]:
    """Returns the errors that a reader of the registry would see at this moment."""
    errors = []
    for number in registry.list_versions(place, model):
        try:
            registry.verify_version(place, model, number)
        except (ValueError, OSError) as error:
            errors.append(str(error))
    current = production.read_production(place, model)
    if current and current.version not in registry.list_versions(place, model):
        errors.append(f"version {current.version} is in production, but not in the registry")
    return errors


def leftovers(place: str, model: str) -> list[str]:
    """Returns versions other than the first, and checkpoints, that a finished run has left behind."""
    checkpoints = [entry.name for entry in storage.list_files(storage.join(place, registry.CHECKPOINTS))]
    return [*(f"version {number}" for number in registry.list_versions(place, model) if number != 1), *checkpoints]


def repeated_epochs(log: str) -> int:
    """Returns the maximum number of epochs that an attempt repeated although the previous attempt had finished them.

    Args:
        log: of all attempts.
    """
    attempts = log.split("Executing task 'ingest'")[1:]
    pairs = ((TASK_STARTED.split(one)[-1], other) for one, other in itertools.pairwise(attempts))
    return max((len(set(EPOCH.findall(one)) & set(EPOCH.findall(other))) for one, other in pairs), default=0)


def _digest(name: str, data: bytes, folder: str) -> str:
    if name.endswith(".keras"):
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            data = ADDRESS.sub(b"", zipped.read("config.json")) + zipped.read("model.weights.h5")
    elif not name.endswith((".parquet", ".tfrecord", ".npy", ".png")):
        text = data.decode("latin-1").replace(folder, "RUN").replace(Path(folder).name, "RUN")
        text = text.replace(Path(folder).name.rpartition("-")[2], "RUN")  # in the name of the TensorBoard folder
        data = TIME.sub("TIME", text).encode()
    return hashlib.sha256(data).hexdigest()
