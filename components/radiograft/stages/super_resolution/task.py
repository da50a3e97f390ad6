"""Super-resolution, experimental: trains a generator, evaluates it on held-out patients, and publishes it."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from radiograft import storage
from radiograft.config import Evaluate, ExtractFeatures, Publish, SuperResolution
from radiograft.config.base import read_settings, record_settings
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.super_resolution import (
    BICUBIC,
    OURS,
    PROJECTED,
    enlarge,
    fit_guard,
    score_images,
    shrink_to_pixels,
    summarize_scores,
)
from radiograft.models.artifact import MODEL, load_model
from radiograft.models.backbone import build_backbone
from radiograft.models.super_resolution import FeatureDistance, export_generator, first_tap
from radiograft.registry import lineage, tensorboard_logs, version_claims
from radiograft.registry import versions as registry
from radiograft.registry.generators import KIND, METRICS, SPEC, GeneratorSpec, check_name
from radiograft.registry.production import utc_now
from radiograft.reporting.super_resolution import SheetRow, render_card, render_report
from radiograft.stages.super_resolution.tensorboard import TensorBoardWatcher
from radiograft.storage import checksums
from radiograft.training import devices
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import fit_batch_size
from radiograft.training.super_resolution import GeneratorTraining, train_generator

log = logging.getLogger(__name__)

LOGS = "logs"  # in the folder of a trained generator
SHEETS = 6  # images in the report


def train(
    settings: SuperResolution, base: ExtractFeatures, shards: Path, output: Path, checkpoints: Checkpoints
) -> None:
    """Trains a generator and writes the network, its specification, its SavedModel, TensorBoard logs and the losses.

    Args:
        settings: settings of the generator.
        base: batch size, precision, and the backbone of the feature loss.
        shards: images of the size after enlarging.
        output: folder.
        checkpoints: those of the task.

    Raises:
        FloatingPointError, ValueError: as `train_generator`.
    """
    devices.make_reproducible(settings.train_seed)
    keras.mixed_precision.set_global_policy(devices.choose_precision(base.train_precision))
    data, strategy = Shards.read(shards), devices.distribution_strategy()
    base = fit_batch_size(base, len(data.split("train")), strategy.num_replicas_in_sync)
    channels = data.image_input.channels
    with strategy.scope():
        distance = _feature_distance(settings, base, channels)
    training = GeneratorTraining(settings, base.train_batch_size, channels, strategy, distance)
    watcher = TensorBoardWatcher(output / LOGS / "train", data, settings.model_scale)
    generator, rows = train_generator(training, data, checkpoints, watcher=watcher)
    spec = GeneratorSpec(settings.model_scale, data.image_size, channels, fit_guard(data, settings))
    output.mkdir(parents=True, exist_ok=True)
    generator.save(output / MODEL)
    spec.write(output)
    (output / "history.json").write_text(json.dumps(rows, indent=2))
    record_settings(output, settings, shards)
    export_generator(generator, spec, output / "saved_model")


def _feature_distance(settings: SuperResolution, base: ExtractFeatures, channels: int) -> FeatureDistance | None:
    if not (settings.train_adversarial_steps and settings.train_feature_weight):
        return None
    backbone = build_backbone(
        base.model_backbone,
        base.model_weights,
        base.model_weights_md5,
        settings.crop_size,
        channels,
        base.model_normalization,
    )
    return FeatureDistance(backbone, first_tap(base.model_backbone))


def evaluate(settings: Evaluate, shards: Path, model: Path, output: Path, report: Path) -> dict[str, float]:
    """Evaluates a generator on the test images, writes the metrics and the report, and returns the main metrics."""
    data, spec, generator = Shards.read(shards), GeneratorSpec.read(model), load_model(model)
    scores = score_images(generator, data, "test", spec.scale)
    results = summarize_scores(scores, spec.guard, "test", settings.evaluate_bootstrap_samples, settings.train_seed)
    recorded = read_settings(model)
    origin = {"source": data.summary["source"], "fingerprint": data.summary["fingerprint"], "settings": recorded}
    output.mkdir(parents=True, exist_ok=True)
    (output / METRICS).write_text(json.dumps(results, indent=2))
    (output / "origin.json").write_text(json.dumps(origin, indent=2))
    scores.to_parquet(output / "scores.parquet", index=False)
    title = f"{spec.image_size // spec.scale} to {spec.image_size} pixels"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(render_report(results, _sheet(generator, data, spec), title, utc_now()), encoding="utf-8")
    psnr = {method: results["metrics"]["psnr"][method]["mean"]["value"] for method in (OURS, PROJECTED, BICUBIC)}
    return {f"test_psnr_{name}": value for name, value in psnr.items() if value is not None}


def _sheet(generator: keras.Model, data: Shards, spec: GeneratorSpec) -> list[SheetRow]:
    """Returns the first test images, enlarged."""
    rows = list[SheetRow]()
    ids = data.split("test")["image_id"]
    for image_id, real in zip(ids[:SHEETS], data.images("test", 1).as_numpy_iterator(), strict=False):
        small = shrink_to_pixels(real, spec.scale)
        enlarged: dict[str, np.ndarray] = enlarge(generator, small, spec.scale)
        rows.append(SheetRow(image_id, small[0], enlarged[BICUBIC][0], enlarged[OURS][0], real[0]))
    return rows


def publish(
    settings: Publish, model: Path, evaluation: Path, report: Path, run_id: str, output: Path
) -> dict[str, Any]:
    """Publishes a generator as a numbered, immutable version, and removes the checkpoints of the run.

    It is never promoted: nothing serves generators by default.

    Returns:
        What it writes to `output`: model, version, URI and lineage.

    Raises:
        ValueError: the name in the registry is one of classifiers.
    """
    root, name = settings.publish_registry, settings.publish_model_name
    check_name(root, name, generators=True)
    claim = version_claims.claim_version(root, name, run_id)
    origin = lineage.collect_lineage(json.loads((evaluation / "origin.json").read_text()), claim)
    with tempfile.TemporaryDirectory() as folder:
        generated = Path(folder)
        (generated / "lineage.json").write_text(json.dumps(origin, indent=2))
        card = render_card(name, json.loads((evaluation / METRICS).read_text()), origin)
        (generated / "model_card.md").write_text(card, encoding="utf-8")
        extra = {path.name: path for path in (*generated.iterdir(), model / MODEL, model / SPEC, evaluation / METRICS)}
        extra |= {"history.json": model / "history.json", "report.html": report}
        files = _list_files(model / "saved_model")
        files |= {f"{registry.EXTRA_ASSETS}/{file}": path for file, path in extra.items()}
        metadata = {"model": name, "kind": KIND, "created": claim.created}
        uri = registry.write_version(root, name, claim.number, files, metadata)
    log.info("published %s version %d at %s", name, claim.number, uri)
    tensorboard_logs.write_logs(root, name, claim, [model / LOGS])
    content = {"model": name, "version": claim.number, "uri": uri, "lineage": origin}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content, indent=2))
    storage.delete_tree(storage.join(root, registry.CHECKPOINTS, run_id))
    return content


def _list_files(folder: Path) -> dict[str, Path]:
    """Returns the files below a folder by relative name, without checksum files: the version has its own."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(checksums.NAME))
    return {path.relative_to(folder).as_posix(): path for path in files}
