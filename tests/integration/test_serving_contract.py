"""Published versions follow TensorFlow Serving's contract: its SavedModel, gRPC and REST formats.

The server here stands in for TensorFlow Serving: it loads the graph tagged `serve` into a session and feeds and fetches
the tensors of the signature. It uses no code of Radiograft.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc as service

from radiograft.config import Publish
from radiograft.data.catalog import score_column
from radiograft.data.shards.dataset import Shards
from radiograft.registry import versions as registry
from radiograft.stages.publish import task
from tests.helpers.stages import Evaluated

MODEL = "chest-radiograph"
LABELS = 3
SIZE = 32


class Server(service.PredictionServiceServicer):
    """Serves the signatures of one version."""

    def __init__(self, version: Path) -> None:
        self.graph = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs[0]
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            tf.compat.v1.saved_model.load(self._session, ["serve"], str(version))

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls Session.run as TensorFlow Serving does."""
        definition = self.graph.signature_def[signature]
        fetches = {name: tensor.name for name, tensor in definition.outputs.items()}
        feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
        outputs: dict[str, np.ndarray] = self._session.run(fetches, feeds)
        return outputs

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802  gRPC name
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        response = predict_pb2.PredictResponse()
        for name, value in self.predict(request.model_spec.signature_name, inputs).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def predict_rest(self, body: bytes) -> dict[str, Any]:
        """Answers `POST /v1/models/MODEL:predict` in row format with one input; `b64` marks binary values."""
        request = json.loads(body)
        signature = request.get("signature_name", "serving_default")
        (name,) = self.graph.signature_def[signature].inputs
        rows = [base64.b64decode(row["b64"]) if isinstance(row, dict) else row for row in request["instances"]]
        values = np.array(rows, dtype=object if isinstance(rows[0], bytes) else np.float32)
        return {"predictions": self.predict(signature, {name: values})["probabilities"].tolist()}


@pytest.fixture(scope="module")
def version(evaluation: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the published model."""
    place, folder = tmp_path_factory.mktemp("registry"), tmp_path_factory.mktemp("evaluation")
    for name in ("metrics.json", "predictions.parquet", "report.SHA256SUMS"):
        (folder / name).write_bytes((evaluation.folder / name).read_bytes())
    inputs = task.PublishInputs(evaluation.inputs.model, folder, evaluation.report)
    number = task.run(Publish(publish_registry=str(place)), inputs, "run-1", folder / "version").version
    registry.verify_version(str(place), MODEL, number)
    return place / MODEL / str(number)


@pytest.fixture(scope="module")
def server(version: Path) -> Server:
    return Server(version)


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[Any]:
    """The gRPC client of tensorflow-serving-api."""
    grpc_server = grpc.server(ThreadPoolExecutor(2))
    service.add_PredictionServiceServicer_to_server(server, grpc_server)
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield service.PredictionServiceStub(channel)
    grpc_server.stop(None)


@pytest.fixture(scope="module")
def recorded(evaluation: Evaluated) -> tuple[list[bytes], np.ndarray]:
    """The files of the test images, and the probabilities that evaluation recorded for them."""
    data = Shards.read(evaluation.inputs.shards)
    predictions = pd.read_parquet(evaluation.folder / "predictions.parquet")
    predictions = predictions[(predictions["strategy"] == "fine_tuning") & (predictions["split"] == "test")]
    files = [Path(uri).read_bytes() for uri in data.split("test")["uri"]]
    return files, predictions[[score_column(label) for label in data.labels]].to_numpy()


def _fields(tensors: Any) -> dict[str, tuple[str, list[int]]]:
    return {
        name: (tf.dtypes.as_dtype(tensor.dtype).name, [dim.size for dim in tensor.tensor_shape.dim])
        for name, tensor in tensors.items()
    }


def test_signatures_have_expected_names_and_tensors(server: Server) -> None:
    graph: meta_graph_pb2.MetaGraphDef = server.graph
    assert list(graph.meta_info_def.tags) == ["serve"]
    methods = {name: definition.method_name for name, definition in graph.signature_def.items() if name[0] != "_"}
    assert methods == dict.fromkeys(("serving_default", "pictures"), "tensorflow/serving/predict")
    files, images = (graph.signature_def[name] for name in ("serving_default", "pictures"))
    assert _fields(files.inputs) == {"image_bytes": ("string", [-1])}
    assert _fields(images.inputs) == {"pictures": ("float32", [-1, SIZE, SIZE, 1])}
    assert _fields(files.outputs) == _fields(images.outputs) == {"probabilities": ("float32", [-1, LABELS])}


def test_grpc_files_return_recorded_probabilities(stub: Any, recorded: tuple[list[bytes], np.ndarray]) -> None:
    files, expected = recorded
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.model_spec.signature_name = "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(files, shape=[len(files)]))
    probabilities = tf.make_ndarray(stub.Predict(request, timeout=60).outputs["probabilities"])
    assert probabilities.dtype == np.float32
    assert np.ptp(expected) > 0.01  # not the same for all images
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)


def test_rest_files_return_recorded_probabilities(server: Server, recorded: tuple[list[bytes], np.ndarray]) -> None:
    files, expected = recorded
    body = json.dumps({"instances": [{"b64": base64.b64encode(content).decode()} for content in files]})
    np.testing.assert_allclose(server.predict_rest(body.encode())["predictions"], expected, rtol=0, atol=1e-5)


def test_float_images_return_recorded_probabilities(
    stub: Any, server: Server, evaluation: Evaluated, recorded: tuple[list[bytes], np.ndarray]
) -> None:
    data = Shards.read(evaluation.inputs.shards)
    images = np.concatenate(list(data.images("test", 64).as_numpy_iterator())).astype(np.float32)
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "pictures"
    request.inputs["pictures"].CopyFrom(tf.make_tensor_proto(images))
    probabilities = tf.make_ndarray(stub.Predict(request, timeout=60).outputs["probabilities"])
    np.testing.assert_allclose(probabilities, recorded[1], rtol=0, atol=1e-5)
    body = json.dumps({"signature_name": "pictures", "instances": images[:2].tolist()})
    np.testing.assert_allclose(server.predict_rest(body.encode())["predictions"], recorded[1][:2], rtol=0, atol=1e-5)


def test_float_images_are_rounded_and_clipped(server: Server) -> None:
    def predict(value: float) -> np.ndarray:
        images = np.full((1, SIZE, SIZE, 1), value, np.float32)
        return server.predict("pictures", {"pictures": images})["probabilities"]

    np.testing.assert_array_equal(predict(99.6), predict(100.0))
    np.testing.assert_array_equal(predict(300.0), predict(255.0))
    np.testing.assert_array_equal(predict(-3.0), predict(0.0))
    assert (predict(0.0) != predict(100.0)).any()
