"""`radiograft drift`: has what comes in now drifted from what a version was made with? Its exit code tells a script."""

from __future__ import annotations

import datetime
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from radiograft.config import Ingest, RegistrySettings
from radiograft.registry import versions as registry
from radiograft_pipelines.cli.console import cli_errors, console, format_metric, out_option
from radiograft_pipelines.cli.models import DISCLAIMER, EMBEDDED_REGISTRY, RegistryRef, open_registry

if TYPE_CHECKING:
    from radiograft.drift.monitor import DriftRun

DRIFT_FOUND = 3  # exit code; 0 is for none, 1 and 2 for what went wrong
FORMAT, TABLE = (Ingest.__dataclass_fields__[name] for name in ("data_format", "data_table"))


@click.command()
@click.option(
    "--source",
    required=True,
    help="The new images: what data_source is in a run. Labels are not needed: of folders and dicom any folder of "
    "images will do, and a table needs no findings. The other formats need all their files.",
)
@click.option(
    "--model", "name", default=RegistrySettings.publish_model_name, show_default=True, help="Name of the model."
)
@click.option("--version", "number", required=True, type=int, help="Number of the version to compare with.")
@click.option(
    "--format",
    "data_format",
    default=FORMAT.default,
    show_default=True,
    type=click.Choice(FORMAT.metadata["choices"]),
    help="What data_format is in a run.",
)
@click.option("--table", default=TABLE.default, show_default=True, help="What data_table is in a run.")
@click.option("--registry", "place", default=EMBEDDED_REGISTRY, show_default=True, help="Folder or bucket prefix.")
@click.option(
    "--report",
    default="drift.html",
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Page with the plots; the figures are written beside it as .json.",
)
@out_option
def drift(
    source: str, number: int, data_format: str, table: str, place: str, name: str, report: Path, out: Path
) -> None:
    """Compares new images with those that a version was made with.

    Exit code 0: no shift detected. 3: shift detected.
    """
    if report.with_suffix(".json") == report:
        raise click.BadParameter(f"must be a page such as drift.html, for the figures go to {report}")
    with cli_errors(), open_registry(place, name, out) as shelf:
        found = _compare(shelf, number, data_format, source, table)
        _write(found, report, name, number, source)
    _print(found)
    click.echo(f"{report}, {report.with_suffix('.json')}\n{DISCLAIMER}")
    sys.exit(DRIFT_FOUND if found.comparison.drift["shifted"] else 0)


def _compare(shelf: RegistryRef, number: int, data_format: str, source: str, table: str) -> DriftRun:
    registry.read_manifest(*shelf, number)  # TensorFlow takes seconds to load; an unknown version is told at once
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from radiograft.drift.monitor import VERSION_FILES, compare_with_version

    with tempfile.TemporaryDirectory() as folder:
        names = [f"{registry.EXTRA_ASSETS}/{each}" for each in VERSION_FILES]
        registry.fetch_version(*shelf, number, names, Path(folder))
        return compare_with_version(Path(folder) / registry.EXTRA_ASSETS, data_format, source, table)


def _notes(found: DriftRun) -> list[str]:
    new = found.new
    drawn = len(new.sample.patients) + new.unreadable
    notes = [f"{drawn:,} of {new.available:,} images were drawn."] if drawn < new.available else []
    unreadable = [f"{new.unreadable:,} of {drawn:,} images could not be read and were left out."]
    return [*notes, *(unreadable if new.unreadable else []), *new.notes]


def _write(found: DriftRun, report: Path, name: str, number: int, source: str) -> None:
    from radiograft.drift.evaluation_drift import drift_section, render_drift_page
    from radiograft.drift.plots import drift_plots

    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    facts = {"model": name, "version": number, "source": source, "created": created, "notes": _notes(found)}
    svgs = drift_plots(found.comparison, found.reference, found.new.sample)
    part = drift_section(found.comparison.drift, svgs, f"data of version {number}", "new images")
    page = render_drift_page(
        part, title=f"{name} version {number}", source=source, created=created, notes=_notes(found)
    )
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(page, encoding="utf-8")
    text = json.dumps({**facts, "drift": found.comparison.drift}, indent=2, allow_nan=False)
    report.with_suffix(".json").write_text(text, encoding="utf-8")


def _print(found: DriftRun) -> None:
    from radiograft.drift.comparison import NAMES, describe_shift

    drift = found.comparison.drift
    table = Table("", "distance", "by chance", "p", "n (patients)", "", box=None, pad_edge=False)
    for name, test in drift["tests"].items():
        side = test["new"]
        p = "-" if test["p"] is None else f"{test['p']:.4f}"
        counted = f"{side['pictures']} ({side['patients']})"
        table.add_row(
            NAMES[name], format_metric(test["value"]), format_metric(test["chance"]), p, counted, test["verdict"]
        )
    console.print(table)
    for note in _notes(found):
        click.echo(note)
    click.echo(f"shifted: {describe_shift(drift)}" if drift["shifted"] else "no shift detected")
