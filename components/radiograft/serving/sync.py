"""Keeps exactly the production version of a model in a local folder for TensorFlow Serving.

TensorFlow Serving does not know the production pointer. It would serve the highest version number, even of a version
that the promotion gate rejected, and could not roll back. It also cannot read `s3://`. Run
`python -m radiograft.serving.sync REGISTRY MODEL FOLDER` beside it.
"""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

import click

from radiograft.registry import production, versions

log = logging.getLogger("radiograft")
HEARTBEAT_FILE = ".mirrored"  # its modification time shows a probe when the registry was last read


def sync_models(registry: str, model: str, folder: Path) -> int | None:
    """Makes `folder`/MODEL contain only the production version; returns its number, or None if there is none.

    The new version appears complete and before the old one is removed, so that Serving switches without a gap.

    Raises:
        FileNotFoundError: the version does not exist.
        ValueError: a file of the version is corrupt.
    """
    current = production.read_production(registry, model)
    if current is None:
        return None
    for leftover in folder.glob(f".{model}.*"):  # of a killed process
        shutil.rmtree(leftover)
    version = folder / model / str(current.version)
    if not version.is_dir():
        draft = _hidden_path(version)
        files = versions.read_manifest(registry, model, current.version)["files"]
        versions.fetch_version(registry, model, current.version, files, draft)
        version.parent.mkdir(exist_ok=True)
        draft.rename(version)
        log.info("version %d of %s is in production", current.version, model)
    for other in version.parent.iterdir():
        if other != version:
            shutil.rmtree(other.rename(_hidden_path(other)))  # hidden from Serving before the first file is deleted
    return current.version


def _hidden_path(version: Path) -> Path:
    """Returns the path of a version that is incomplete: on the same disk, so that one rename shows or hides it."""
    return version.parent.with_name(f".{version.parent.name}.{version.name}")


@click.command()
@click.argument("registry", metavar="REGISTRY")
@click.argument("model")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--every", default=60, show_default=True, help="Seconds between two reads of the registry.")
@click.option("--first", is_flag=True, help="Exit as soon as a version is available.")
def main(registry: str, model: str, folder: Path, every: int, first: bool) -> None:
    """Follow the production pointer of MODEL until stopped. Failures are logged, and Serving keeps its version."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    log.setLevel(logging.INFO)  # not the root logger: client libraries log credentials
    while True:
        try:
            number = sync_models(registry, model, folder)
            if number is None:
                log.info("no version of %s is in production yet", model)
            elif first:
                return
            (folder / HEARTBEAT_FILE).touch()
        except Exception:
            log.exception("cannot read the production version from the registry")
        time.sleep(every)


if __name__ == "__main__":
    main()
