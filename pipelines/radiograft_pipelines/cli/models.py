"""`radiograft models ...`: looks after the versions in a registry and asks them about images."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import click

from radiograft import storage
from radiograft.config import RegistrySettings
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft_pipelines.cli import model_tables
from radiograft_pipelines.cli.console import cli_errors, out_option
from radiograft_pipelines.local.object_store import embedded_store
from radiograft_pipelines.settings import absolute_uri

EMBEDDED_REGISTRY = f"gs://{storage.EMBEDDED_BUCKET}/registry"
DISCLAIMER = "Research only. Not for diagnosis."


class RegistryRef(NamedTuple):
    """Where a model's versions are: the registry's folder or gs:// prefix, and the model's name."""

    place: str
    model: str


@click.group()
def models() -> None:
    """Lists, checks, promotes, compares and asks the versions of a model in a registry."""


def registry_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that name a model in a registry, which is reachable while it works."""

    @click.option("--registry", "place", default=EMBEDDED_REGISTRY, show_default=True, help="Folder or bucket prefix.")
    @click.option("--model", default=RegistrySettings.publish_model_name, show_default=True, help="Name of the model.")
    @out_option
    @functools.wraps(command)
    def with_shelf(place: str, model: str, out: Path, **arguments: Any) -> None:
        with cli_errors(), open_registry(place, model, out) as shelf:
            command(shelf, **arguments)

    return with_shelf


@models.command("list")
@registry_options
def list_versions(shelf: RegistryRef) -> None:
    """Lists the versions: which is in production, how good they are, what the gate said, and on which data."""
    current = production.read_production(*shelf)  # first: what it names is there, and so is listed
    numbers = registry.list_versions(*shelf)
    if not numbers:
        raise FileNotFoundError(f"{shelf.model} has no versions yet in {shelf.place}; --model names another model")
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        found = list(pool.map(functools.partial(_read, shelf), numbers))
    model_tables.print_versions(found, current)


@models.command()
@click.argument("number", type=int)
@registry_options
def show(shelf: RegistryRef, number: int) -> None:
    """Prints the model card of a version, its moves into production and its files."""
    manifest = registry.read_manifest(*shelf, number)
    current = production.read_production(*shelf)
    ((_, card),) = registry.read_file(*shelf, number, [f"{registry.EXTRA_ASSETS}/model_card.md"])
    model_tables.print_version(manifest, card.decode(errors="replace"), current)


@models.command()
@click.argument("number", type=int)
@registry_options
def verify(shelf: RegistryRef, number: int) -> None:
    """Hashes every file of a version anew, and asks it about its stored sample."""
    files = registry.verify_version(*shelf, number)["files"]
    click.echo(f"version {number}: {len(files)} files have the SHA-256 of the manifest")
    with _load_version(shelf, number) as served:
        difference = served.check_sample()
    click.echo(f"version {number}: its sample is answered as recorded, largest difference {difference:.1e}")


@models.command()
@click.argument("number", type=int)
@click.option("--reason", default="by hand", show_default=True, help="Stands in the pointer's history.")
@registry_options
def promote(shelf: RegistryRef, number: int, reason: str) -> None:
    """Makes a version the one in production, whatever the gate said."""
    before = production.read_production(*shelf)
    if before and before.version == number:
        click.echo(f"version {number} is in production already")
        return
    production.promote(*shelf, number, before, reason=reason)
    click.echo(f"version {number} is in production, {f'version {before.version}' if before else 'nothing'} was before")


@models.command()
@click.option("--reason", default="rolled back by hand", show_default=True, help="Stands in the pointer's history.")
@registry_options
def rollback(shelf: RegistryRef, reason: str) -> None:
    """Puts back into production what was there before; again, what was before that."""
    before, now = production.rollback(*shelf, reason=reason)
    click.echo(f"version {now} is in production again, version {before} was before")


@models.command()
@click.argument("one", type=int)
@click.argument("other", type=int)
@registry_options
def diff(shelf: RegistryRef, one: int, other: int) -> None:
    """Compares two versions: settings, data and code where they differ, and all figures."""
    model_tables.print_difference(_read(shelf, one), _read(shelf, other))


@models.command()
@click.argument("number", type=int)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--heat-maps",
    "folder",
    default="heat_maps",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the images of where the network looked.",
)
@registry_options
def predict(shelf: RegistryRef, number: int, files: tuple[Path, ...], folder: Path) -> None:
    """Asks a version about PNG, JPEG or DICOM files: probabilities, calls, and heat maps of the labels called.

    Where none is called, the heat map is that of the most probable label. Research only. Not for diagnosis.
    """
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
    with _load_version(shelf, number) as served:
        for position, path in enumerate(files, start=1):
            content = served.read_image(path)
            answers = served.answers(content)
            names = {label: f"{position}-{path.stem}-{_plain(label)}.png" for label in served.worth_a_look(answers)}
            for label, name in names.items():
                storage.write_bytes(str(folder / name), served.heat_map(content, label))
            model_tables.print_predictions(path, answers, {label: folder / name for label, name in names.items()})
    click.echo(DISCLAIMER)


def _plain(label: str) -> str:
    """A label as part of a file's name."""
    return re.sub(r"[^\w-]+", "_", label)


def _read(shelf: RegistryRef, number: int) -> model_tables.VersionRecord:
    metrics, lineage = registry.read_objects(*shelf, number, "metrics.json", "lineage.json")
    return model_tables.VersionRecord(registry.read_manifest(*shelf, number), metrics, lineage)


@contextlib.contextmanager
def _load_version(shelf: RegistryRef, number: int) -> Iterator[Any]:
    """A version, loaded from a folder that is gone afterwards."""
    registry.read_manifest(*shelf, number)  # TensorFlow takes seconds to load; an unknown version is told at once
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from radiograft.serving.loaded_version import LoadedVersion

    with tempfile.TemporaryDirectory() as folder:
        yield LoadedVersion(*shelf, number, Path(folder))


@contextlib.contextmanager
def open_registry(place: str, model: str, out: Path) -> Iterator[RegistryRef]:
    """A model's versions; where the registry lies in the embedded store of a folder of runs, that is served."""
    shelf = RegistryRef(absolute_uri("--registry", place), model)
    if not f"{place}/".startswith(f"gs://{storage.EMBEDDED_BUCKET}/"):
        yield shelf
        return
    if not (out / "store").is_dir():
        raise FileNotFoundError(f"{out} holds no store of runs; name the folder with --out, or another --registry")
    with embedded_store(out / "store"):
        yield shelf
