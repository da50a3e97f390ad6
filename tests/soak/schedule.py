"""One scheduled run: the stages of the pipeline in a separate process, with settings that take seconds."""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from radiograft import backbones
from radiograft.config import Evaluate, ExtractFeatures, FineTune, Preprocess, Publish, validate_settings
from radiograft.config.base import Scalar
from radiograft.data import change_detection
from radiograft.evaluation.predictions import EvaluateInputs
from radiograft.stages.evaluate import task as evaluate
from radiograft.stages.extract_features import task as extract_features
from radiograft.stages.fine_tune import task as fine_tune
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.stages.publish import task as publish
from radiograft.training.checkpoints import Checkpoints

SCHEDULES_PER_PROCESS = 20
SMALL: dict[str, Scalar] = {
    "data_format": "chestxray14",
    "data_validation_fraction": 0.25,
    "evaluate_bootstrap_samples": 100,
    "evaluate_min_patients": 1,
    "image_size": 32,
    "model_backbone": "efficientnet_lite0",
    "model_cut_off": "block4_conv",
    "model_dense_units": 0,
    "model_dropout": 0.0,
    "model_weights": "none",
    "gate_min_auroc": "0.1",
    "gate_noninferiority_margin": 0.1,
    "train_batch_size": 16,
    "train_feature_epochs": 1,
    "train_fine_tune_epochs": 1,
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a scheduled run.

    Attributes:
        decision: `train`, `skip` or `refuse`.
        reason: of the decision; for `train`, of the promotion gate.
        version: the published version; None if nothing was published.
        promoted: whether the version was promoted to production.
        seconds: duration.
        peak: maximum memory of its process so far, in MB.
    """

    decision: str
    reason: str
    version: int | None = None
    promoted: bool = False
    seconds: float = 0.0
    peak: float = 0.0


def four_blocks(*, input_tensor: keras.KerasTensor, **options: Any) -> keras.Model:
    """Replaces EfficientNet-Lite0, which spends nine tenths of its time on building graphs, by four convolutions."""
    outputs = input_tensor
    for number, channels in enumerate((8, 16, 16, 32), 1):
        layer = keras.layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False, name=f"block{number}_conv")
        normalize = keras.layers.BatchNormalization(name=f"block{number}_normalize")
        outputs = keras.layers.ReLU(name=f"block{number}_relu")(normalize(layer(outputs)))
    return keras.Model(keras.utils.get_source_inputs(outputs), outputs)


@contextmanager
def processes() -> Iterator[ProcessPoolExecutor]:
    """Yields a pool with one process, renewed after SCHEDULES_PER_PROCESS runs because TensorFlow slows down."""
    context = multiprocessing.get_context("forkserver")  # forks from a process that has only loaded TensorFlow
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=SCHEDULES_PER_PROCESS) as pool:
        yield pool


def run(source: Path, registry: str, scratch: Path, work: Path, run_id: str) -> Outcome:
    """Runs the pipeline once.

    Args:
        scratch: folder for temporary files of the stages.
        work: folder for the artifacts; must not exist.
    """
    start, tempfile.tempdir = time.monotonic(), str(scratch)
    tf.get_logger().setLevel("ERROR")  # hides warnings about retracing, which is intended
    keras.backend.clear_session()
    known = backbones._backbones()
    known["efficientnet_lite0"] = dataclasses.replace(
        known["efficientnet_lite0"],
        build=four_blocks,
        cut_offs=tuple(f"block{number}_conv" for number in range(1, 5)),
        taps=tuple(f"block{number}_relu" for number in range(1, 5)),
    )
    outcome = _run(SMALL | {"data_source": str(source), "publish_registry": registry}, work, run_id)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return dataclasses.replace(outcome, seconds=time.monotonic() - start, peak=peak)


def _run(values: Mapping[str, Scalar], work: Path, run_id: str) -> Outcome:
    settings, catalog = validate_settings(values), work / "catalog"
    try:
        if not ingest.run_with_all_settings(settings, catalog, run_id):
            return Outcome("skip", change_detection.read(catalog).reason)
    except (ValueError, FileNotFoundError) as error:
        return Outcome("refuse", str(error))
    published = _train(settings, work, run_id)
    return Outcome("train", published.reason, published.version, published.promoted)


def _train(settings: Mapping[str, Scalar], work: Path, run_id: str) -> publish.PublishResult:
    """Runs the stages from preprocessing to publishing."""
    names = ("shards", "features", "start", "model", "evaluation")
    shards, features, start, model, evaluation = (work / name for name in names)

    def checkpoints(task: str) -> Checkpoints:
        return Checkpoints.of_task(str(settings["publish_registry"]), run_id, task)

    preprocess.run(Preprocess.of(settings), work / "catalog", shards)
    extraction = ExtractFeatures.of(settings)
    extract_features.run(extraction, shards, features, start, work / "logs-1", checkpoints("extract-features"))
    fine_tune.run(FineTune.of(settings), shards, start, model, work / "logs-2", checkpoints("fine-tune"))
    inputs, report = EvaluateInputs(shards, features, start, model), work / "report.html"
    evaluate.run(Evaluate.of(settings), inputs, run_id, evaluation, report, work / "logs-3")
    return publish.run(Publish.of(settings), publish.PublishInputs(model, evaluation, report), run_id, work / "version")
