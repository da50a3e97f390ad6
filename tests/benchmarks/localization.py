"""`python -m tests.benchmarks.localization --source FOLDER`: compares pooling heads on real boxes, without fine-tuning.

The frozen EfficientNet-Lite0 runs once; each head is trained on its stored last activation as feature extraction does.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import click
import keras
import tensorflow as tf

from radiograft.config import ExtractFeatures, Ingest, Preprocess
from radiograft.config.training import AVERAGE, POOLINGS
from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import HeatMaps
from radiograft.explain.localization import localize
from radiograft.registry.result_types import Estimate
from radiograft.stages.extract_features import task
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.training import devices
from radiograft.training.checkpoints import Checkpoints

LABEL = "Pneumonia"
SETTINGS = ExtractFeatures(
    model_backbone="efficientnet_lite0", model_cut_off="top_conv", model_dense_units=0, model_pooling="lse"
)
SAMPLES = 1000


@click.command()
@click.option("--source", required=True, help="Folder of ChestX-ray14 with images and its tables.")
@click.option("--size", default=224, help="Height and width of the images, pixels.")
def main(source: str, size: int) -> None:
    """Prints validation AUROC, and for each heat map its localization scores on the boxes of the test images."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ingest.run(Ingest(data_source=source, data_labels=LABEL), folder / "catalog")
        preprocess.run(Preprocess(image_size=size), folder / "catalog", folder / "shards")
        compare(Shards.read(folder / "shards"), folder)


def compare(data: Shards, folder: Path) -> None:
    """Trains a head of each pooling and prints its figures."""
    devices.make_reproducible(0)
    strategy, kept = tf.distribute.get_strategy(), Checkpoints("")
    extraction = task._extract(SETTINGS, "imagenet", data, strategy, folder / "features", folder / "maps", kept)
    print("| head | validation AUROC | map | pointing game | IoU > 0.1 | IoU > 0.25 | IoBB > 0.25 |")
    print("|---" * 7 + "|")
    for pooling in POOLINGS:
        keras.utils.set_random_seed(0)
        settings = dataclasses.replace(SETTINGS, model_pooling=pooling)
        used = dataclasses.replace(extraction, maps={}) if pooling == AVERAGE else extraction
        layers = extraction.layers[-1:]
        network, head, history = task._fit(settings, used, layers, data, strategy, folder / "logs" / pooling, kept)
        heat_maps = HeatMaps(network, strategy, task._tensor_names(settings, head))
        scored = localize(data, heat_maps, SAMPLES, seed=0)
        assert scored is not None, "no test image has a box"
        found = scored["labels"][LABEL]
        for name, measures in found["maps"].items():
            iou, iobb = measures["iou"], measures["iobb"]
            figures = (found["pointing"][name], iou[0]["accuracy"], iou[1]["accuracy"], iobb[1]["accuracy"])
            cells = " | ".join(map(_format, figures))
            print(f"| {pooling} | {history.best['val_auroc']:.3f} | {name} | {cells} |", flush=True)


def _format(estimate: Estimate) -> str:
    low, high = (estimate[bound] for bound in ("low", "high"))
    return f"{estimate['value']:.2f}" + ("" if low is None else f" ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
