"""`radiograft models ...`: manages the versions of a model in a registry and runs inference with them."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import click

from radiograft import storage
from radiograft.config import RegistrySettings
from radiograft.config.base import check_http_url
from radiograft.config.evaluation import parse_external_minimums
from radiograft.registry import external, generators, model_registry, production
from radiograft.registry import versions as registry
from radiograft.registry.results import parse_results
from radiograft.utils.quoting import parse_assignments
from radiograft.utils.text import escape_control_characters
from radiograft_pipelines.cli import model_tables
from radiograft_pipelines.cli.console import cli_errors, import_tensorflow, out_option
from radiograft_pipelines.local.object_store import embedded_store
from radiograft_pipelines.settings import absolute_uri

EMBEDDED_REGISTRY = f"gs://{storage.EMBEDDED_BUCKET}/registry"
DISCLAIMER = "Research only. Not for diagnosis."


class RegistryRef(NamedTuple):
    """A model in a registry: the registry's folder, gs:// or s3:// prefix, and the model's name."""

    uri: str
    model: str


@click.group()
def models() -> None:
    """Lists, verifies, promotes, compares and runs the versions of a model in a registry."""


def registry_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that select a model in a registry. The command gets them as a `RegistryRef`."""

    @click.option("--registry", "uri", default=EMBEDDED_REGISTRY, show_default=True, help="Folder or bucket prefix.")
    @click.option("--model", default=RegistrySettings.publish_model_name, show_default=True, help="Name of the model.")
    @out_option
    @functools.wraps(command)
    def with_registry(uri: str, model: str, out: Path, **arguments: Any) -> None:
        with cli_errors(), open_registry(uri, model, out) as ref:
            command(ref, **arguments)

    return with_registry


@models.command("list")
@registry_options
def list_versions(ref: RegistryRef) -> None:
    """Lists the versions with production status, test AUROC or R², gate, data fingerprint and registration.

    Generators of super-resolution are listed with their scale and test PSNR.
    """
    current = production.read_production(*ref)  # before listing, so that the list includes the version it names
    numbers = registry.list_versions(*ref)
    if not numbers:
        raise FileNotFoundError(f"{ref.model} has no versions in {ref.uri}; choose another model with --model")
    read = _read_generator if generators.is_generator(registry.read_manifest(*ref, numbers[-1])) else _read_version
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        versions: list[Any] = list(pool.map(lambda number: read(ref, number), numbers))
    if read is _read_generator:
        model_tables.print_generators(versions)
    else:
        model_tables.print_versions(versions, current)


@models.command()
@click.argument("number", type=int)
@registry_options
def show(ref: RegistryRef, number: int) -> None:
    """Prints the model card, promotion history, external evaluations and files of a version."""
    manifest = registry.read_manifest(*ref, number)
    current = production.read_production(*ref)
    ((_, card),) = registry.read_file(*ref, number, [f"{registry.EXTRA_ASSETS}/model_card.md"])
    registration = model_registry.read_registration(*ref, number)
    records = external.read_records(*ref, number)
    model_tables.print_version(manifest, card.decode(errors="replace"), current, registration, records)
    for record in records:
        click.echo(f"report on {record.name}: {external.file_uri(*ref, record, 'report.html')}")


@models.command()
@click.argument("number", type=int)
@registry_options
def verify(ref: RegistryRef, number: int) -> None:
    """Verifies the checksums of a version, its predictions on the sample images, and its external evaluations."""
    manifest = registry.verify_version(*ref, number)
    click.echo(f"version {number}: {len(manifest['files'])} files match their SHA-256")
    if generators.is_generator(manifest):
        difference = load_generator(ref, number).verify_consistency()
        click.echo(f"version {number}: an enlarged image, shrunk, is its input within {difference} gray levels")
        return
    evaluated = external.verify_records(*ref, number)
    if evaluated:
        click.echo(f"version {number}: {evaluated} files of external evaluations match their SHA-256")
    with load_version(ref, number) as loaded:
        click.echo(
            f"version {number}: sample predictions match, largest difference {loaded.verify_golden_predictions():.1e}"
        )


@models.command()
@click.argument("number", type=int)
@click.option("--reason", default="manual promotion", show_default=True, help="Recorded in the promotion history.")
@click.option("--force", is_flag=True, help="Promote even if gate_external is not met.")
@registry_options
def promote(ref: RegistryRef, number: int, reason: str, force: bool) -> None:
    """Promotes a version to production, regardless of the gate's decision at publication.

    The external evaluations that its setting gate_external names must be recorded and high enough.
    """
    before = production.read_production(*ref)
    if before and before.version == number:
        click.echo(f"version {number} is already in production")
        return
    unmet = _unmet_external_minimums(ref, number)
    if unmet and not force:
        raise ValueError(
            f"version {number} must meet gate_external to be promoted, but {'; '.join(unmet)}; `radiograft evaluate "
            f"--registry {ref.uri} --model {ref.model} --version {number} --name NAME --source ...` records a missing "
            "set, and --force promotes nevertheless"
        )
    production.promote(
        *ref, number, before, reason=f"{reason}; forced although {'; '.join(unmet)}" if unmet else reason
    )
    replaced = f", replacing version {before.version}" if before else ""
    click.echo(f"version {number} is now in production{replaced}")


def _unmet_external_minimums(ref: RegistryRef, number: int) -> list[str]:
    """Returns why the external evaluations of a version do not meet the `gate_external` of its run."""
    if f"{registry.EXTRA_ASSETS}/lineage.json" not in registry.read_manifest(*ref, number)["files"]:
        return []
    (lineage,) = registry.read_objects(*ref, number, "lineage.json")
    settings = lineage.get("settings")
    minimums = parse_external_minimums(str(settings.get("gate_external", "")) if isinstance(settings, dict) else "")
    return external.unmet_minimums(external.read_records(*ref, number), minimums) if minimums else []


@models.command()
@click.option("--reason", default="manual rollback", show_default=True, help="Recorded in the promotion history.")
@registry_options
def rollback(ref: RegistryRef, reason: str) -> None:
    """Rolls production back to the previous version. Repeat to go further back."""
    before, now = production.rollback(*ref, reason=reason)
    click.echo(f"version {now} is in production again, replacing version {before}")


@models.command()
@click.argument("number", type=int)
@click.option(
    "--model-registry",
    "url",
    required=True,
    envvar="RADIOGRAFT_MODEL_REGISTRY",
    show_envvar=True,
    help="URL of the Kubeflow Model Registry, such as http://localhost:8080.",
)
@registry_options
def register(ref: RegistryRef, number: int, url: str) -> None:
    """Registers a version in a Kubeflow Model Registry. What is registered already is left unchanged."""
    check_http_url("--model-registry", url)
    generators.check_classifier(*ref, number)
    registration = model_registry.register_version(url, *ref, number)
    click.echo(f"version {number} of {ref.model} is registered: {registration.link}")


@models.command()
@click.argument("one", type=int)
@click.argument("other", type=int)
@registry_options
def diff(ref: RegistryRef, one: int, other: int) -> None:
    """Compares two versions: differing settings, data and code, then all metrics."""
    model_tables.print_difference(_read_version(ref, one), _read_version(ref, other))


@models.command()
@click.argument("number", type=int)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    "folder",
    default="enlarged",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the PNG files.",
)
@registry_options
def enlarge(ref: RegistryRef, number: int, files: tuple[Path, ...], folder: Path) -> None:
    """Enlarges PNG, JPEG or DICOM files by a generator of super-resolution (experimental).

    Each PNG has a note below the image that a network enlarged it. A file that is larger than the generator's input is
    rejected. An image with more energy at high frequencies than real ones have is flagged. Research only. Not for
    diagnosis.
    """
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
    loaded = load_generator(ref, number)
    for position, path in enumerate(files, 1):
        enlarged, target = loaded.enlarge(path), folder / f"{position}-{path.stem}.png"
        storage.write_bytes(str(target), enlarged.png)
        click.echo(escape_control_characters(f"{path}: {target}{', flagged' if enlarged.is_flagged else ''}"))
    click.echo(DISCLAIMER)


@models.command()
@click.argument("number", type=int)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--heat-maps",
    "folder",
    default="heat_maps",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the class activation maps.",
)
@click.option("--json", "report", type=click.Path(path_type=Path, dir_okay=False), help="Also writes a JSON file.")
@click.option(
    "--patient-data",
    default="",
    metavar="NAME=VALUE,...",
    help="Patient data of the images, such as age=63,sex=F; what is left out is missing.",
)
@click.option(
    "--lateral",
    type=click.Path(path_type=Path),
    help="Lateral image of the study of one file, for a model that reads it.",
)
@registry_options
def predict(
    ref: RegistryRef,
    number: int,
    files: tuple[Path, ...],
    folder: Path,
    report: Path | None,
    patient_data: str,
    lateral: Path | None,
) -> None:
    """Predicts labels for PNG, JPEG or DICOM files: probabilities, calls, and heat maps of the positive labels.

    If no label is positive, the heat map shows the most probable label. Of exclusive classes, the most probable one is
    predicted. If the targets are numbers, each is printed with its heat map. Reasons to distrust a prediction are
    written to standard error and to the JSON file, one line each: a version made from synthetic images, or a file that
    differs from the development images in color, size or gray values. They do not change the exit code. Research only.
    Not for diagnosis.
    """
    if lateral and len(files) != 1:
        raise click.UsageError(f"--lateral needs one FILE, the frontal image of its study, got {len(files)}")
    for path in (*files, *([lateral] if lateral else [])):
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
    given = parse_assignments("--patient-data", patient_data)
    with load_version(ref, number) as loaded:
        warnings = loaded.training_images.warnings
        for warning in warnings:
            click.echo(f"Warning: {warning}", err=True)
        beside = {"patient_data": given, "lateral": loaded.read_image(lateral) if lateral else b""}
        images = [
            _predict_file(loaded, path, f"{folder / str(position)}-", beside) for position, path in enumerate(files, 1)
        ]
    if report:
        content = {"model": ref.model, "version": number, "warnings": warnings, "images": images}
        storage.write_bytes(str(report), json.dumps(content, indent=2).encode())
    click.echo(DISCLAIMER)


def _predict_file(loaded: Any, path: Path, prefix: str, beside: dict[str, Any]) -> dict[str, Any]:
    """Prints the predictions for a file, writes its heat maps, and returns both with the notes for the JSON file."""
    content = loaded.read_image(path)
    notes = loaded.compare_with_training(content)
    if loaded.spec.is_numeric:
        return _predict_numbers(loaded, path, content, prefix, notes, beside)
    predictions = loaded.predict_image(content, **beside)
    heat_maps = {
        label: Path(f"{prefix}{path.stem}-{_file_name(label)}.png") for label in loaded.labels_to_explain(predictions)
    }
    for label, heat_map in heat_maps.items():
        storage.write_bytes(str(heat_map), loaded.heat_map(content, label))
    predicted = next(each.label for each in predictions if each.positive) if loaded.spec.is_exclusive else None
    model_tables.print_predictions(path, predictions, heat_maps, predicted)
    _print_notes(path, notes)
    calls = [
        {
            **each._asdict(),
            "heat_map": str(heat_maps[each.label]) if each.label in heat_maps else None,
        }
        for each in predictions
    ]
    distance = loaded.measure_distance(content)
    own = ({"class": predicted} if predicted is not None else {}) | (distance._asdict() if distance else {})
    return {"file": str(path), **own, "notes": notes, "predictions": calls}


def _predict_numbers(
    loaded: Any, path: Path, content: bytes, prefix: str, notes: list[str], beside: dict[str, Any]
) -> dict[str, Any]:
    """Prints the predicted number of each target, with a heat map of what raises it."""
    values = loaded.predict_values(content, **beside)
    heat_maps = {each.label: Path(f"{prefix}{path.stem}-{_file_name(each.label)}.png") for each in values}
    for label, heat_map in heat_maps.items():
        storage.write_bytes(str(heat_map), loaded.heat_map(content, label))
    model_tables.print_values(path, values, heat_maps)
    _print_notes(path, notes)
    calls = [{**each._asdict(), "heat_map": str(heat_maps[each.label])} for each in values]
    return {"file": str(path), "notes": notes, "predictions": calls}


def _print_notes(path: Path, notes: list[str]) -> None:
    for note in notes:
        click.echo(escape_control_characters(f"{path}: {note}"), err=True)


def _file_name(label: str) -> str:
    """Replaces the characters of a label that may not be allowed in a file name."""
    return re.sub(r"[^\w-]+", "_", label)


def _read_generator(ref: RegistryRef, number: int) -> model_tables.GeneratorRecord:
    objects = registry.read_objects(*ref, number, generators.METRICS, "lineage.json", generators.SPEC)
    results, lineage, spec = objects
    return model_tables.GeneratorRecord(registry.read_manifest(*ref, number), results, lineage, spec)


def load_generator(ref: RegistryRef, number: int) -> Any:
    """Loads a generator of super-resolution."""
    registry.read_manifest(*ref, number)  # rejects an unknown version before TensorFlow's slow import
    import_tensorflow()
    from radiograft.serving.loaded_generator import LoadedGenerator

    return LoadedGenerator(f"{ref.uri}/{ref.model}/{number}")


def _read_version(ref: RegistryRef, number: int) -> model_tables.VersionRecord:
    generators.check_classifier(*ref, number)
    metrics, lineage = registry.read_objects(*ref, number, "metrics.json", "lineage.json")
    registration = model_registry.read_registration(*ref, number)
    return model_tables.VersionRecord(
        registry.read_manifest(*ref, number), parse_results(metrics), lineage, registration is not None
    )


@contextlib.contextmanager
def load_version(ref: RegistryRef, number: int) -> Iterator[Any]:
    """Loads a classifier from a temporary copy."""
    generators.check_classifier(*ref, number)  # before TensorFlow's slow import
    import_tensorflow()
    from radiograft.serving.loaded_version import LoadedVersion

    with tempfile.TemporaryDirectory() as folder:
        yield LoadedVersion(*ref, number, Path(folder))


@contextlib.contextmanager
def open_registry(uri: str, model: str, out: Path) -> Iterator[RegistryRef]:
    """Yields a model in a registry. Starts the embedded store of the runs folder `out` if the registry is in it."""
    ref = RegistryRef(absolute_uri("--registry", uri), model)
    if not f"{uri}/".startswith(f"gs://{storage.EMBEDDED_BUCKET}/"):
        yield ref
        return
    if not (out / "store").is_dir():
        raise FileNotFoundError(
            f"{out} has no embedded object store; pass the folder of the runs with --out, or another --registry"
        )
    with embedded_store(out / "store"):
        yield ref
