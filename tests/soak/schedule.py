"""One schedule: the stages as the pipeline runs them, in a process of their own, on settings that take seconds."""

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
from radiograft.config import DATA_CHANGED, Evaluate, ExtractFeatures, FineTune, Preprocess, Publish, validate_settings
from radiograft.config.base import Scalar
from radiograft.data import change_detection
from radiograft.evaluation.predictions import EvaluateInputs as Judged
from radiograft.stages.evaluate import task as evaluate
from radiograft.stages.extract_features import task as extract_features
from radiograft.stages.fine_tune import task as fine_tune
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.stages.publish import task as publish
from radiograft.training.checkpoints import Checkpoints

SCHEDULES_A_PROCESS = 20
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
    "train_trigger": DATA_CHANGED,
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a schedule.

    Attributes:
        decision: `train`, `skip` or `refuse`.
        reason: of the decision; of `train` the gate's.
        version: what was published, None where nothing was.
        promoted: whether it went into production.
        seconds: how long it took.
        peak: the most memory that its process has held so far, in MB.
    """

    decision: str
    reason: str
    version: int | None = None
    promoted: bool = False
    seconds: float = 0.0
    peak: float = 0.0


def four_blocks(*, input_tensor: keras.KerasTensor, **options: Any) -> keras.Model:
    """Four convolutions in the place of EfficientNet-Lite0, of whose time nine tenths go into building graphs."""
    found = input_tensor
    for number, channels in enumerate((8, 16, 16, 32), 1):
        layer = keras.layers.Conv2D(channels, 3, strides=2, padding="same", use_bias=False, name=f"block{number}_conv")
        normalize = keras.layers.BatchNormalization(name=f"block{number}_normalize")
        found = keras.layers.ReLU(name=f"block{number}_relu")(normalize(layer(found)))
    return keras.Model(keras.utils.get_source_inputs(found), found)


@contextmanager
def processes() -> Iterator[ProcessPoolExecutor]:
    """Runs schedules one at a time, SCHEDULES_A_PROCESS in a process: TensorFlow's graphs are built faster again."""
    context = multiprocessing.get_context("forkserver")  # of a process that has loaded TensorFlow and done nothing else
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=SCHEDULES_A_PROCESS) as pool:
        yield pool


def run(source: Path, registry: str, scratch: Path, work: Path, run_id: str) -> Outcome:
    """Runs the pipeline once.

    Args:
        scratch: where the stages keep temporary files.
        work: for the artifacts; must not exist.
    """
    start, tempfile.tempdir = time.monotonic(), str(scratch)
    tf.get_logger().setLevel("ERROR")  # the rest are warnings of tracing anew, which is meant
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
    form, catalog = validate_settings(values), work / "catalog"
    try:
        if not ingest.run_with_all_settings(form, catalog, run_id):
            return Outcome("skip", change_detection.read(catalog).reason)
    except (ValueError, FileNotFoundError) as refusal:
        return Outcome("refuse", str(refusal))
    published = _train(form, work, run_id)
    return Outcome("train", published.reason, published.version, published.promoted)


def _train(form: Mapping[str, Scalar], work: Path, run_id: str) -> publish.PublishResult:
    """What the pipeline does where there is something to train on."""
    shards, features, start, model, judged = (
        work / name for name in ("shards", "features", "start", "model", "judged")
    )

    def checkpoints(task: str) -> Checkpoints:
        return Checkpoints.of_task(str(form["publish_registry"]), run_id, task)

    preprocess.run(Preprocess.of(form), work / "catalog", shards)
    extraction = ExtractFeatures.of(form)
    extract_features.run(extraction, shards, features, start, work / "logs-1", checkpoints("extract-features"))
    fine_tune.run(FineTune.of(form), shards, start, model, work / "logs-2", checkpoints("fine-tune"))
    inputs, report = Judged(shards, features, start, model), work / "report.html"
    evaluate.run(Evaluate.of(form), inputs, run_id, judged, report, work / "logs-3")
    return publish.run(Publish.of(form), publish.PublishInputs(model, judged, report), run_id, work / "version")
