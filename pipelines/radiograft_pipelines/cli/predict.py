"""`radiograft models predict`, `screen` and `enlarge`: run a version on image files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from radiograft import storage
from radiograft.utils.quoting import parse_assignments
from radiograft.utils.text import escape_control_characters
from radiograft_pipelines.cli import model_tables
from radiograft_pipelines.cli.models import DISCLAIMER, RegistryRef, load_generator, load_version, registry_options


@click.command()
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


@click.command()
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
