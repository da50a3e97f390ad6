"""`radiograft drift`: tests new images for a shift from the data of a published version."""

from __future__ import annotations

import datetime
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from radiograft.config import Ingest
from radiograft.registry import generators
from radiograft.registry import versions as registry
from radiograft_pipelines.cli.console import (
    cli_errors,
    console,
    format_metric,
    import_tensorflow,
    out_option,
    report_option,
)
from radiograft_pipelines.cli.models import DISCLAIMER, RegistryRef, model_option, open_registry, registry_option

if TYPE_CHECKING:
    from radiograft.drift.monitor import DriftRun

DRIFT_FOUND, NOT_COMPARABLE = 3, 4  # exit codes; 0 means no shift, 1 and 2 are errors
FORMAT, TABLE = (Ingest.__dataclass_fields__[name] for name in ("data_format", "data_table"))


@click.command()
@click.option(
    "--source",
    required=True,
    help="The new images, as data_source in a run. Labels are not needed: folders and dicom take any folder of images, "
    "and a table needs no label columns. The other formats need all their files.",
)
@model_option
@click.option("--version", "number", required=True, type=int, help="Number of the version to compare with.")
@click.option(
    "--format",
    "data_format",
    default=FORMAT.default,
    show_default=True,
    type=click.Choice(FORMAT.metadata["choices"]),
    help="As data_format in a run.",
)
@click.option("--table", default=TABLE.default, show_default=True, help="As data_table in a run.")
@registry_option
@report_option("drift.html", "HTML page with the plots")
@out_option
def drift(
    source: str, number: int, data_format: str, table: str, uri: str, model: str, report: Path, out: Path
) -> None:
    """Compares new images with the data of a version.

    Exit code 0: no shift detected. Exit code 3: shift detected. Exit code 4: nothing could be compared, because no
    variable is known for 10 patients in both samples. Exit codes 1 and 2: errors.
    """
    if report.with_suffix(".json") == report:
        raise click.BadParameter(f"--report must not end in .json, where the results are written, got {report}")
    with cli_errors(), open_registry(uri, model, out) as ref:
        result = _compare(ref, number, data_format, source, table)
        _write_report(result, report, model, number, source)
    outcome = _print_result(result)
    click.echo(f"{report}, {report.with_suffix('.json')}\n{DISCLAIMER}")
    sys.exit(_exit_code(outcome))


def _compare(ref: RegistryRef, number: int, data_format: str, source: str, table: str) -> DriftRun:
    generators.check_classifier(*ref, number)  # before TensorFlow's slow import
    import_tensorflow()
    from radiograft.drift.monitor import VERSION_FILES, compare_with_version

    with tempfile.TemporaryDirectory() as folder:
        names = [f"{registry.EXTRA_ASSETS}/{file}" for file in VERSION_FILES]
        registry.fetch_version(*ref, number, names, Path(folder))
        return compare_with_version(Path(folder) / registry.EXTRA_ASSETS, data_format, source, table)


def _exit_code(outcome: str) -> int:
    from radiograft.drift.comparison import NOT_COMPARED, SHIFTED

    return {SHIFTED: DRIFT_FOUND, NOT_COMPARED: NOT_COMPARABLE}.get(outcome, 0)


def _notes(result: DriftRun) -> list[str]:
    new = result.new
    drawn = len(new.sample.patients) + new.unreadable
    notes = []
    if drawn < new.available:
        notes.append(f"A random sample of {drawn:,} of {new.available:,} images was used.")
    if new.unreadable:
        notes.append(f"{new.unreadable:,} of {drawn:,} images could not be read and were excluded.")
    return [*notes, *new.notes]


def _write_report(result: DriftRun, report: Path, model: str, number: int, source: str) -> None:
    from radiograft.drift.comparison import drift_outcome
    from radiograft.drift.evaluation_drift import drift_plots, drift_section, render_drift_page

    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    notes, drift = _notes(result), result.comparison.drift
    plots = drift_plots(result.comparison, result.reference, result.new.sample)
    section = drift_section(drift, plots, f"data of version {number}", "new images")
    page = render_drift_page(section, title=f"{model} version {number}", source=source, created=created, notes=notes)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(page, encoding="utf-8")
    record = {"model": model, "version": number, "source": source, "created": created, "notes": notes}
    text = json.dumps({**record, "outcome": drift_outcome(drift), "drift": drift}, indent=2, allow_nan=False)
    report.with_suffix(".json").write_text(text, encoding="utf-8")


def _print_result(result: DriftRun) -> str:
    """Prints the tests and the outcome, and returns the outcome."""
    from radiograft.drift.comparison import NAMES, SHIFTED, describe_shift, describe_untested, drift_outcome

    drift = result.comparison.drift
    table = Table("", "distance", "by chance", "p", "n (patients)", "", box=None, pad_edge=False)
    for name, test in drift["tests"].items():
        p = "-" if test["p"] is None else f"{test['p']:.4f}"
        count = f"{test['new']['pictures']} ({test['new']['patients']})"
        distance, chance = format_metric(test["value"]), format_metric(test["chance"])
        table.add_row(NAMES[name], distance, chance, p, count, test["verdict"])
    console.print(table)
    for note in _notes(result):
        click.echo(note)
    outcome, untested = drift_outcome(drift), describe_untested(drift)
    click.echo(f"{outcome}: {describe_shift(drift)}" if outcome == SHIFTED else outcome)
    if untested:
        click.echo(f"not compared: {untested}")
    return outcome
