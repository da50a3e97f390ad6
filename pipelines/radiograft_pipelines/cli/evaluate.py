"""`radiograft evaluate`: evaluates a published version on another archive and records the result beside it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click
from rich.table import Column, Table

from radiograft.config import Evaluate, Ingest
from radiograft.config.base import Scalar
from radiograft.config.resolution import apply_overrides, load_settings_file
from radiograft.imaging.corruption_sets import CORRUPTIONS
from radiograft.registry import external, generators
from radiograft.registry import versions as registry
from radiograft.registry.external_results import ExternalResults
from radiograft.utils.text import check_record_name
from radiograft_pipelines.cli.console import (
    cli_errors,
    console,
    format_interval,
    import_tensorflow,
    out_option,
    report_option,
)
from radiograft_pipelines.cli.models import DISCLAIMER, RegistryRef, model_option, open_registry, registry_option
from radiograft_pipelines.settings import absolute_uri

if TYPE_CHECKING:
    from radiograft.external.evaluate import ExternalEvaluation, ExternalRequest

FORMAT = Ingest.__dataclass_fields__["data_format"]
# Taken from the version, so that the intervals of both sets are computed in one way.
FROM_VERSION = ("evaluate_bootstrap_samples", "evaluate_min_patients", "evaluate_ordered_classes", "train_seed")


@click.command()
@click.option("--source", required=True, help="The other archive, as data_source in a run.")
@model_option
@click.option("--version", "number", required=True, type=int, help="Number of the version to evaluate.")
@click.option(
    "--format",
    "data_format",
    type=click.Choice(FORMAT.metadata["choices"]),
    help=f"As data_format in a run.  [default: {FORMAT.default}]",
)
@click.option("--table", help="As data_table in a run.")
@click.option(
    "--labels",
    "renamed",
    default="",
    metavar="THEIRS=OURS,...",
    help="Findings of the archive that are labels of the version under another name; several may be one label.",
)
@click.option("--settings", "settings", help="YAML file or preset with further settings of the data and the intervals.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Overrides a setting; repeatable.")
@click.option("--name", default="", help="Name of the external set, by default that of the source.")
@click.option("--official-test", is_flag=True, help="Use only the archive's own test split; otherwise all images.")
@click.option(
    "--corruptions",
    type=click.Choice(tuple(CORRUPTIONS)),
    help="Also measure the robustness to the corruptions that MedMNIST-C defines for this dataset.",
)
@click.option("--record/--no-record", default=True, show_default=True, help="Record the result beside the version.")
@registry_option
@report_option("external.html", "HTML page")
@out_option
def evaluate(
    model: str,
    number: int,
    settings: str | None,
    assignments: tuple[str, ...],
    name: str,
    record: bool,
    uri: str,
    report: Path,
    out: Path,
    **options: Any,
) -> None:
    """Evaluates a published version on another archive.

    The version's thresholds and calibration are used, and images that it has seen in training or validation are left
    out. The report shows the version's test split beside the external set, with the loss of AUROC. A record is never
    replaced. `gate_external` can require it for promotion. Research only. Not for diagnosis.
    """
    if report.with_suffix(".json") == report:
        raise click.BadParameter(f"--report must not end in .json, where the results are written, got {report}")
    with cli_errors(), open_registry(uri, model, out) as ref:
        values = apply_overrides(load_settings_file(settings) if settings else {}, assignments)
        options["source"] = absolute_uri("--source", options["source"])
        name = name or default_name(options["source"], str(options["data_format"]))
        check_record_name("--name", name)
        if record:
            external.check_new_record(*ref, number, name)
        evaluation = _evaluate(ref, number, name, values, options)
        _write_report(evaluation, report)
        _print_results(evaluation.results)
        if record:
            _record(ref, evaluation)
            click.echo(f"recorded as {name} beside version {number}")
    click.echo(f"{report}, {report.with_suffix('.json')}\n{DISCLAIMER}")


def default_name(source: str, data_format: str) -> str:
    """Returns a name for an external set: that of the folder or file, for a table that of its folder.

    Example:
        >>> default_name("gs://hospital/covid views/metadata.csv", "table")
        'covid-views'
    """
    path = PurePosixPath(source)
    place = path.parent.name if data_format == "table" else path.stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", place).strip("-_")[:63]


def _evaluate(
    ref: RegistryRef, number: int, name: str, values: Mapping[str, Scalar], options: Mapping[str, Any]
) -> ExternalEvaluation:
    generators.check_classifier(*ref, number)  # before TensorFlow's slow import
    import_tensorflow()
    from radiograft.external.evaluate import VERSION_FILES, evaluate_version

    with tempfile.TemporaryDirectory() as folder:
        files = [f"{registry.EXTRA_ASSETS}/{file}" for file in VERSION_FILES]
        registry.fetch_version(*ref, number, files, Path(folder))
        extra = Path(folder) / registry.EXTRA_ASSETS
        return evaluate_version(extra, _build_request(ref, number, name, values, options, extra))


def _build_request(
    ref: RegistryRef,
    number: int,
    name: str,
    values: Mapping[str, Scalar],
    options: Mapping[str, Any],
    version: Path,
) -> ExternalRequest:
    from radiograft.external.archive import names_to_read, parse_renamed
    from radiograft.external.evaluate import ExternalRequest
    from radiograft.models.spec import ModelSpec

    labels = ModelSpec.read(version).labels
    renamed = parse_renamed(options["renamed"], labels)
    given = {"data_source": options["source"], "data_format": options["data_format"], "data_table": options["table"]}
    data = {
        "data_labels": names_to_read(labels, renamed),
        **values,
        **{key: text for key, text in given.items() if text},
    }
    data.pop("gate_min_auroc", None)  # names labels of a training
    data.pop("data_task", None)  # is the version's
    recorded = json.loads((version / "lineage.json").read_bytes()).get("settings", {})
    kept = {key: recorded[key] for key in FROM_VERSION if key in recorded}
    return ExternalRequest(
        model=ref.model,
        version=number,
        name=name,
        ingest=Ingest.of(kept | data),
        evaluate=Evaluate.of({**kept, **values, "publish_registry": ref.uri}),
        renamed=renamed,
        official_test=options["official_test"],
        corruption_set=options["corruptions"] or "",
    )


def _record(ref: RegistryRef, evaluation: ExternalEvaluation) -> None:
    results = evaluation.results
    mean = results["comparison"]["mean"]
    unknown = {"value": None, "low": None, "high": None}
    summary = {
        **{key: results[key] for key in ("name", "version", "created", "source")},
        "labels": results["labels"]["common"],
        "n_images": results["metrics"]["n_images"],
        "n_patients": results["metrics"]["n_patients"],
        "auroc": mean["external"] if mean else unknown,
        "internal": mean["internal"] if mean else unknown,
        "loss": mean["loss"] if mean else unknown,
    }
    files = {"metrics.json": _to_json(results), "report.html": evaluation.report.encode()}
    external.write_record(*ref, summary, files)


def _write_report(evaluation: ExternalEvaluation, report: Path) -> None:
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(evaluation.report, encoding="utf-8")
    report.with_suffix(".json").write_bytes(_to_json(evaluation.results))


def _to_json(results: ExternalResults) -> bytes:
    return json.dumps(results, indent=2, allow_nan=False).encode()


def _print_results(results: ExternalResults) -> None:
    from radiograft.external.archive import OTHER_CLASS

    table = _table("label", "internal test AUROC", "external AUROC", "loss")
    comparison = results["comparison"]
    rows = dict(comparison["labels"])
    if comparison["mean"] and len(rows) > 1:
        rows["mean"] = comparison["mean"]
    for label, row in rows.items():
        estimates = (row["internal"], row["external"], row["loss"])
        table.add_row(label, *(format_interval(each["value"], each["low"], each["high"]) for each in estimates))
    console.print(table)
    if "classes" in results["metrics"]:
        _print_classes(results)
    labels, overlap, metrics = results["labels"], results["overlap"], results["metrics"]
    click.echo(f"{metrics['n_images']:,} external images of {metrics['n_patients']:,} patients")
    click.echo(f"evaluated labels: {', '.join(labels['common'])}")
    for side, names in (("version", labels["version_only"]), ("archive", labels["archive_only"])):
        if names:
            click.echo(f"only the {side} has: {', '.join(names[:30])}")
    for group in results["excluded"]:
        if group["reason"] == OTHER_CLASS:
            click.echo(f"left out: {group['count']:,} images {OTHER_CLASS}")
    if any(overlap.values()):
        click.echo(
            f"left out: {overlap['seen_images']:,} images seen in training or validation, "
            f"{overlap['other_images_of_seen_patients']:,} other images of these patients"
        )
    if results["robustness"]:
        _print_robustness(results["robustness"])


def _print_classes(results: ExternalResults) -> None:
    """Prints the metrics of exclusive classes on both sets, each beside its baseline."""
    from radiograft.reporting.classes import class_rows

    table = _table("metric", "internal test", "baseline", "external", "baseline")
    for inside, outside in zip(class_rows(results["internal"]), class_rows(results["metrics"]), strict=True):
        values = (inside.estimate, inside.baseline, outside.estimate, outside.baseline)
        table.add_row(inside.name, *(format_interval(each["value"], each["low"], each["high"]) for each in values))
    console.print(table)


def _print_robustness(robustness: Mapping[str, Any]) -> None:
    table = _table("corruption", *map(str, robustness["severities"]))
    for name, values in {"mean": robustness["mean"], **robustness["corruptions"]}.items():
        table.add_row(name, *("-" if each["value"] is None else f"{each['value']:.3f}" for each in values))
    console.print(table)


def _table(first: str, *others: str) -> Table:
    """Returns a table whose first column stays on one line in a narrow terminal."""
    return Table(Column(first, no_wrap=True), *others, box=None, pad_edge=False)
