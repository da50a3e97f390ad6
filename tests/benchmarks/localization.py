"""`python -m tests.benchmarks.localization --source FOLDER`: compares pooling heads on real boxes or lung masks.

The frozen EfficientNet-Lite0 runs once; each head is trained on its stored last activation as feature extraction does.
Nothing is fine-tuned. FOLDER is ChestX-ray14, or one with `images`, `masks` and `labels.csv`.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import keras
import tensorflow as tf

from radiograft.config import ExtractFeatures, Ingest, Preprocess
from radiograft.config.network import AVERAGE, POOLINGS
from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import HeatMaps
from radiograft.explain.localization import localize
from radiograft.explain.mask_share import score_masks
from radiograft.registry.result_types import Estimate
from radiograft.stages.extract_features import task
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.training import devices
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.feature_classifier import extract_all_features, fit_classifier

SETTINGS = ExtractFeatures(
    model_backbone="efficientnet_lite0", model_cut_off="top_conv", model_dense_units=0, model_pooling="lse"
)
SAMPLES = 1000
ON_BOXES = ("pointing game", "IoU > 0.1", "IoU > 0.25", "IoBB > 0.25")
ON_MASKS = ("share of heat inside the lungs",)


@click.command()
@click.option("--source", required=True, help="ChestX-ray14, or a folder with images, masks and labels.csv.")
@click.option("--size", default=224, show_default=True, help="Height and width of the images, pixels.")
@click.option("--poolings", default=",".join(POOLINGS), show_default=True, help="Heads, separated by commas.")
def main(source: str, size: int, poolings: str) -> None:
    """Prints validation AUROC and the scores of each heat map on the test images with boxes or masks."""
    masks = f"{source}/masks" if Path(source, "masks").is_dir() else ""
    boxed = Ingest(data_source=source, data_labels="Pneumonia")
    masked = {"data_format": "table", "data_table": "image=file,label=tuberculosis", "data_labels": "tuberculosis"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        settings = Ingest(data_source=f"{source}/labels.csv", **masked) if masks else boxed  # type: ignore[arg-type]
        ingest.run(settings, folder / "catalog")
        preprocess.run(Preprocess(image_size=size), folder / "catalog", folder / "shards")
        compare(Shards.read(folder / "shards"), folder, masks, poolings.split(","))


def compare(data: Shards, folder: Path, masks: str, poolings: Sequence[str]) -> None:
    """Trains a head of each pooling and prints its figures as a Markdown table."""
    devices.make_reproducible(0)
    strategy, kept = tf.distribute.get_strategy(), Checkpoints("")
    extraction = extract_all_features(SETTINGS, data, strategy, folder / "features", folder / "maps", kept)
    columns = ("head", "validation AUROC", "map", *(ON_MASKS if masks else ON_BOXES))
    click.echo(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for pooling in poolings:
        keras.utils.set_random_seed(0)
        settings = dataclasses.replace(SETTINGS, model_pooling=pooling)
        used = dataclasses.replace(extraction, maps={}) if pooling == AVERAGE else extraction
        layers = extraction.layers[-1:]
        network, head, history = fit_classifier(settings, used, layers, data, strategy, folder / "logs" / pooling, kept)
        heat_maps = HeatMaps(network, strategy, task._tensor_names(settings, head))
        for name, figures in _mask_rows(data, heat_maps, masks) if masks else _box_rows(data, heat_maps):
            cells = (pooling, f"{history.best['val_auroc']:.3f}", name, *map(_format, figures))
            click.echo(f"| {' | '.join(cells)} |")


def _box_rows(data: Shards, heat_maps: HeatMaps) -> Iterator[tuple[str, list[Estimate]]]:
    scored = localize(data, heat_maps, SAMPLES, seed=0)
    assert scored is not None, "no test image has a box"
    (found,) = scored["labels"].values()
    for name, measures in found["maps"].items():
        low, quarter, _ = measures["iou"]
        overlaps = [low["accuracy"], quarter["accuracy"], measures["iobb"][1]["accuracy"]]
        yield name, [found["pointing"][name], *overlaps]


def _mask_rows(data: Shards, heat_maps: HeatMaps, masks: str) -> Iterator[tuple[str, list[Estimate]]]:
    (shares,) = score_masks(data, masks, heat_maps, SAMPLES, seed=0)["labels"].values()
    for name, share in {**shares["maps"], "share of the image": shares["area"]}.items():
        yield name, [share]


def _format(estimate: Estimate) -> str:
    interval = "" if estimate["low"] is None else f" ({estimate['low']:.2f} to {estimate['high']:.2f})"
    return f"{estimate['value']:.2f}{interval}"


if __name__ == "__main__":
    main()
