"""Engines that run frozen layers on a CPU, and the choice of the fastest that agrees with TensorFlow in float32."""

from __future__ import annotations

import collections
import importlib.util
import itertools
import logging
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from radiograft.config.training import (
    AUTO_ENGINE,
    FROZEN_ENGINES,
    OPENVINO,
    OPENVINO_BFLOAT16,
    TENSORFLOW,
    TENSORFLOW_BFLOAT16,
)
from radiograft.models.predictor import Predictor
from radiograft.training.checkpoints import Checkpoints

log = logging.getLogger(__name__)

OPENVINO_PRECISIONS = {OPENVINO: "f32", OPENVINO_BFLOAT16: "bf16"}

AUTO_IMAGES = 4096  # below, the calibration takes longer than it saves
CALIBRATION_BATCHES, CALIBRATION_ROUNDS = 4, 3
MIN_COSINE = 0.995  # between the features of an engine and TensorFlow's, of every layer
MIN_GAIN = 1.1  # another engine than TensorFlow must be faster by this factor


def build_predictor(model: keras.Model, strategy: tf.distribute.Strategy, engine: str) -> Predictor:
    """Returns a predictor that runs a network by an engine.

    Args:
        model: a functional network from images to any number of outputs.
        strategy: the strategy in whose scope the network was built.
        engine: one of FROZEN_ENGINES except `auto`.

    Raises:
        RuntimeError: the package of the engine is not installed, the task has GPUs, or the network does not compute in
            float32.
    """
    if engine == TENSORFLOW:
        return Predictor(model, strategy)
    _check_usable(engine)
    if engine == TENSORFLOW_BFLOAT16:
        return Predictor(_to_bfloat16(model), strategy)
    return OpenVinoPredictor(model, OPENVINO_PRECISIONS[engine])


class OpenVinoPredictor(Predictor):
    """Runs a network by OpenVINO on all cores, with several batches in flight.

    Args:
        model: the network.
        precision: `f32` or `bf16`.
    """

    def __init__(self, model: keras.Model, precision: str) -> None:
        self.model, self._network = model, _compile(model, precision)  # without TensorFlow's copy of the network

    def iter_batches(self, batches: tf.data.Dataset) -> Iterator[list[np.ndarray]]:
        """Yields all outputs of the model for each batch, in the order of the images; see `Predictor`."""
        count = self._network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") + 1  # one waits while the others run
        requests = itertools.cycle([self._network.create_infer_request() for _ in range(count)])
        pending = collections.deque[Any]()
        for batch in batches:
            if len(pending) == count:
                yield self._outputs_of(pending.popleft())
            pending.append(next(requests))
            inputs = tf.nest.flatten(batch)
            pending[-1].start_async({_input_name(number): tensor.numpy() for number, tensor in enumerate(inputs)})
        while pending:
            yield self._outputs_of(pending.popleft())

    def _outputs_of(self, request: Any) -> list[np.ndarray]:
        request.wait()
        names = map(_output_name, range(len(self.model.outputs)))
        return [request.get_tensor(name).data.astype("float32") for name in names]  # a copy: requests are reused


def choose_engine(
    setting: str,
    network: keras.Model,
    columns: Mapping[str, Sequence[slice]],
    images: tf.data.Dataset,
    count: int,
    strategy: tf.distribute.Strategy,
    checkpoints: Checkpoints,
) -> str:
    """Returns the engine for the frozen layers.

    `auto` times the installed engines on a few batches. It takes the fastest whose features have a cosine of at least
    MIN_COSINE with those of TensorFlow in float32, in each layer, if it is faster than TensorFlow by MIN_GAIN. A
    resumed task takes the engine that its first attempt chose. On GPUs, in another precision than float32, and for
    fewer than AUTO_IMAGES images, `auto` is TensorFlow.

    Args:
        setting: one of FROZEN_ENGINES.
        network: network from images to the features of all tapped layers.
        columns: columns of the features of each layer.
        images: batches of the images on which the engines are compared.
        count: number of images that the network will process.
        strategy: the strategy in whose scope the network was built.
        checkpoints: where the choice is kept.
    """
    if setting != AUTO_ENGINE:
        return setting
    if count < AUTO_IMAGES or _reason_for_tensorflow():
        return TENSORFLOW
    if chosen := checkpoints.latest():
        return str(chosen.facts["engine"])
    state = random.getstate()  # new layers draw from it, and a resumed task builds none
    predictors = {name: build_predictor(network, strategy, name) for name in _installed()}
    engine = fastest_engine(predictors, images.take(CALIBRATION_BATCHES).cache(), columns)
    random.setstate(state)
    checkpoints.save(1, {}, {"engine": engine}, keep=True)
    return engine


def follow_choice(setting: str, chosen: str) -> str:
    """Returns the engine for a later task of a run.

    Args:
        setting: the setting `train_frozen_engine`.
        chosen: what feature extraction chose, which `auto` follows unless only TensorFlow can be used in this task.
    """
    if setting != AUTO_ENGINE:
        return setting
    return TENSORFLOW if _reason_for_tensorflow() else chosen


def fastest_engine(
    predictors: Mapping[str, Predictor],
    sample: tf.data.Dataset,
    columns: Mapping[str, Sequence[slice]],
    clock: Callable[[], float] = time.perf_counter,
) -> str:
    """Returns the name of the fastest predictor that agrees with that of TensorFlow.

    Args:
        predictors: predictors by engine, `tensorflow` among them.
        sample: batches of images.
        columns: columns of the features of each layer.
        clock: returns seconds.
    """
    features = {name: predictor.predict(sample) for name, predictor in predictors.items()}  # also compiles them
    cosines = {name: smallest_cosine(features[TENSORFLOW], features[name], columns) for name in predictors}
    seconds = dict.fromkeys(predictors, float("inf"))
    for _ in range(CALIBRATION_ROUNDS):
        for name, predictor in predictors.items():
            start = clock()
            predictor.predict(sample)
            seconds[name] = min(seconds[name], clock() - start)
    agreeing = [name for name in predictors if cosines[name] >= MIN_COSINE]
    best = min(agreeing, key=seconds.__getitem__)
    if seconds[TENSORFLOW] < MIN_GAIN * seconds[best]:
        best = TENSORFLOW
    for name in predictors:
        gain = seconds[TENSORFLOW] / seconds[name]
        log.info("frozen layers by %s: %.2f times the speed of TensorFlow, cosine %.5f", name, gain, cosines[name])
    log.info("frozen layers run by %s; train_frozen_engine=%s repeats this choice", best, best)
    return best


def smallest_cosine(reference: np.ndarray, features: np.ndarray, columns: Mapping[str, Sequence[slice]]) -> float:
    """Returns the smallest cosine of a layer's features, each the mean over the images.

    Args:
        reference: features [n, channels].
        features: those to compare, with the same shape.
        columns: columns of each layer.
    """
    layers = (np.r_[tuple(parts)] for parts in columns.values())
    return min(_mean_cosine(reference[:, layer], features[:, layer]) for layer in layers)


def _mean_cosine(first: np.ndarray, second: np.ndarray) -> float:
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(np.mean((first * second).sum(axis=1) / np.maximum(norms, np.finfo("float32").tiny)))


def _reason_for_tensorflow() -> str:
    """Returns why only TensorFlow can run the frozen layers in this process; empty if others can."""
    if tf.config.list_logical_devices("GPU"):
        return "this task has GPUs"
    policy = keras.config.dtype_policy().name
    return "" if policy == "float32" else f"the precision is {policy}"


def _check_usable(engine: str) -> None:
    if reason := _reason_for_tensorflow():
        raise RuntimeError(
            f"train_frozen_engine={engine} must run on a CPU with train_precision=float32, and {reason}: choose "
            "train_frozen_engine=auto or tensorflow"
        )
    if engine not in _installed():
        raise RuntimeError(
            f"train_frozen_engine={engine} needs the package openvino, which is not installed: run "
            "`pip install openvino`, or choose train_frozen_engine=tensorflow"
        )


def _installed() -> list[str]:
    engines = [name for name in FROZEN_ENGINES if name != AUTO_ENGINE]
    if importlib.util.find_spec("openvino"):
        return engines
    return [name for name in engines if name not in OPENVINO_PRECISIONS]


def _to_bfloat16(model: keras.Model) -> keras.Model:
    """Returns a copy of a network that computes in bfloat16; its outputs are float32 where a layer fixes that."""

    def convert(layer: keras.Layer) -> keras.Layer:
        if not layer.weights and layer.output.dtype == "float32" and len(layer.output.shape) == 2:
            return type(layer).from_config(layer.get_config())  # the pooled features
        return type(layer).from_config({**layer.get_config(), "dtype": "mixed_bfloat16"})

    copy = keras.models.clone_model(model, clone_function=convert)
    copy.set_weights(model.get_weights())
    return copy


def _compile(model: keras.Model, precision: str) -> Any:
    """Compiles a network for OpenVINO, which folds BatchNormalization into convolutions.

    openvino sends statistics of use to a server as soon as it is imported, unless openvino_telemetry is missing.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # importing it raises ImportError
    import openvino

    signature = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name=_input_name(number))
        for number, tensor in enumerate(model.inputs)
    ]

    def forward(*images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = tf.nest.flatten(model(images[0] if len(images) == 1 else list(images), training=False))
        return {_output_name(number): output for number, output in enumerate(outputs)}

    with tempfile.TemporaryDirectory(prefix="radiograft-openvino-") as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", forward, signature)
        archive.write_out(folder, verbose=False)
        core = openvino.Core()
        hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "THROUGHPUT"}
        return core.compile_model(core.read_model(folder), "CPU", hints)


def _input_name(number: int) -> str:
    return f"input_{number:03}"  # OpenVINO orders inputs and outputs by name


def _output_name(number: int) -> str:
    return f"output_{number:03}"
