"""`radiograft models ...`: manages the versions of a model in a registry."""

from __future__ import annotations

import contextlib
import functools
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
from radiograft_pipelines.cli import model_tables
from radiograft_pipelines.cli.console import cli_errors, import_tensorflow, out_option
from radiograft_pipelines.local.object_store import embedded_store
from radiograft_pipelines.settings import absolute_uri

EMBEDDED_REGISTRY = f"gs://{storage.EMBEDDED_BUCKET}/registry"
DISCLAIMER = "Research only. Not for diagnosis."

registry_option = click.option(
    "--registry", "uri", default=EMBEDDED_REGISTRY, show_default=True, help="Folder or bucket prefix."
)
model_option = click.option(
    "--model", default=RegistrySettings.publish_model_name, show_default=True, help="Name of the model."
)


class RegistryRef(NamedTuple):
    """A model in a registry: the registry's folder, gs:// or s3:// prefix, and the model's name."""

    uri: str
    model: str


@click.group()
def models() -> None:
    """Lists, verifies, promotes, compares and runs the versions of a model in a registry."""


def registry_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that select a model in a registry. The command gets them as a `RegistryRef`."""

    @registry_option
    @model_option
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
