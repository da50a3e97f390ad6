"""Keeps the version in production, and that one alone, in a folder on disk from which TensorFlow Serving serves it.

Serving knows no production pointer: it would take the highest number, also that of a version that the gate refused, and
could not go back. Nor does it read s3://. `python -m radiograft.serving.sync REGISTRY MODEL FOLDER` runs beside it.
"""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

import click

from radiograft.registry import production
from radiograft.registry import versions as registry

log = logging.getLogger("radiograft")
HEARTBEAT_FILE = ".mirrored"  # its age tells a probe when the registry was last read


def sync_models(place: str, model: str, folder: Path) -> int | None:
    """Makes `folder`/MODEL hold the version in production and no other; returns its number, None where there is none.

    The new version appears whole and before the old one goes, so Serving switches without a gap.

    Raises:
        FileNotFoundError: the version is gone.
        ValueError: a file of it was changed.
    """
    found = production.read_production(place, model)
    if found is None:
        return None
    for left in folder.glob(f".{model}.*"):  # of a process that was killed
        shutil.rmtree(left)
    wanted = folder / model / str(found.version)
    if not wanted.is_dir():
        draft = _hidden(wanted)
        files = registry.read_manifest(place, model, found.version)["files"]
        registry.fetch_version(place, model, found.version, files, draft)
        wanted.parent.mkdir(exist_ok=True)
        draft.rename(wanted)
        log.info("version %d of %s is in production", found.version, model)
    for other in wanted.parent.iterdir():
        if other != wanted:
            shutil.rmtree(other.rename(_hidden(other)))  # out of Serving's sight before the first file goes
    return found.version


def _hidden(version: Path) -> Path:
    """Where a version is while it comes or goes: on the same disk, so that one rename shows or hides it."""
    return version.parent.with_name(f".{version.parent.name}.{version.name}")


@click.command()
@click.argument("place", metavar="REGISTRY")
@click.argument("model")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--every", default=60, show_default=True, help="Seconds between two looks at the registry.")
@click.option("--first", is_flag=True, help="End as soon as a version is there.")
def main(place: str, model: str, folder: Path, every: int, first: bool) -> None:
    """Follow the production pointer of MODEL until stopped; a failure is told, and what serves goes on serving."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    log.setLevel(logging.INFO)  # its own: the object stores' clients tell about credentials
    while True:
        try:
            number = sync_models(place, model, folder)
            if number is None:
                log.info("no version of %s is in production yet", model)
            elif first:
                return
            (folder / HEARTBEAT_FILE).touch()
        except Exception:
            log.exception("the registry could not be followed")
        time.sleep(every)


if __name__ == "__main__":
    main()
