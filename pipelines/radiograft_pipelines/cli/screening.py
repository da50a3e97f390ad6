"""`radiograft models screen`: counts the images that a version flags as out of distribution."""

from __future__ import annotations

import json
from pathlib import Path

import click

from radiograft import storage
from radiograft_pipelines.cli import model_tables
from radiograft_pipelines.cli.models import RegistryRef, load_version, registry_options


@click.command()
@click.argument("number", type=int)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "report", type=click.Path(path_type=Path, dir_okay=False), help="Also writes a JSON file.")
@registry_options
def screen(ref: RegistryRef, number: int, paths: tuple[Path, ...], report: Path | None) -> None:
    """Counts the images of files and folders that a version flags as out of distribution.

    The version must have been trained with model_ood_percentile. The intervals are Clopper and Pearson's, and every
    image counts as a patient.
    """
    with load_version(ref, number) as loaded:
        from radiograft.serving.screening import screen_images  # TensorFlow, which `load_version` imports silently

        screenings = [screen_images(loaded, path) for path in paths]
        threshold = loaded.spec.ood_threshold
    model_tables.print_screenings(screenings, threshold)
    if report:
        rows = [{"path": str(each.path), "distances": each.distances, "rate": each.rate} for each in screenings]
        content = {"model": ref.model, "version": number, "threshold": threshold, "screenings": rows}
        storage.write_bytes(str(report), json.dumps(content, indent=2).encode())
