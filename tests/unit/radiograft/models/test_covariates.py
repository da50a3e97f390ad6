"""Patient data as a further input: encoding, network, and the SavedModel that takes raw values."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.models import artifact
from radiograft.models.covariates import Covariate, encode_covariates, input_shape
from radiograft.models.graph_split import pool_before_concat, split_model
from radiograft.models.heads import build_patient_input
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from tests.helpers.fused import fused_network
from tests.helpers.images import encode, noise
from tests.helpers.networks import outputs

AGE = Covariate("age", mean=50.0, deviation=20.0)
SEX = Covariate("sex", categories=("f", "m"))
VIEW = Covariate("View Position", categories=("ap", "pa", "ll"))
COVARIATES = (AGE, SEX, VIEW)
RAW = {"age": [70.0, float("nan"), 412.0], "sex": ["F", "", "x"], "View Position": ["PA", "AP", ""]}
SPEC = ModelSpec(32, ("Mass",), "efficientnet_lite0", "none", "conv", "fine_tuning", covariates=COVARIATES)


def patient(values: dict[str, list[Any]]) -> tf.Tensor:
    return tf.constant(encode_covariates(COVARIATES, values))


def images() -> tf.Tensor:
    return tf.constant(np.stack([noise(32, seed)[..., None] for seed in range(3)]))


def small_network() -> keras.Model:
    return fused_network((32, 32, 1), input_shape(COVARIATES), labels=1)


def test_encode_known_and_missing_values_are_literal() -> None:
    """A missing value is the flag alone, not the number 0; 412 years are capped; `x` is not in training."""
    encoded = encode_covariates(COVARIATES, RAW)
    assert encoded.shape == (3, *input_shape(COVARIATES)) == (3, 4, 3)
    assert encoded[..., 0].tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [1, 5, 0, 0]]
    assert encoded[..., 1].tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert encoded[..., 2].tolist() == [[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_fit_constant_column_and_unknown_column() -> None:
    assert Covariate.fit("age", pd.Series([40.0, 40.0])).encode([41.0]).tolist() == [[1.0, 1.0]]
    with pytest.raises(ValueError, match="model_patient_data must name columns with known values in training, got 'x'"):
        Covariate.fit("x", pd.Series([None, None], dtype="string"))


def test_fit_many_categories_raises() -> None:
    with pytest.raises(ValueError, match="at most 32 different values, got 'note' with 40"):
        Covariate.fit("note", pd.Series([f"text {number}" for number in range(40)], dtype="string"))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.just(float("nan")), st.floats(-1e3, 1e3, width=32)),
            st.sampled_from(["", "M", "f", " F ", "other", "Ä"]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_encode_tensors_equals_encode_covariates(rows: list[tuple[float, str]]) -> None:
    covariates = (AGE, Covariate("sex", categories=("f", "m", "ä")))
    numbers, texts = zip(*rows, strict=True)
    in_graph = artifact.encode_tensors(covariates, [tf.constant(numbers, tf.float32), tf.constant(texts)])
    np.testing.assert_allclose(
        in_graph, encode_covariates(covariates, {"age": numbers, "sex": texts}), rtol=1e-5, atol=1e-5
    )


def test_build_patient_input_turns_known_into_missing_flag() -> None:
    network = build_patient_input((2, 2), 0.5, seed=0)
    given_values = np.array([[[1, 1], [0.5, -2]], [[1, 0], [3, 0]]], "float32")
    assert network(given_values).numpy().tolist() == [[0, 0, 0.5, -2], [0, 1, 3, 0]]


def test_build_patient_input_training_drops_whole_values_without_scaling() -> None:
    """Every value is either as given or missing with its flag: never scaled, never partly dropped."""
    network = build_patient_input((2, 2), 0.5, seed=0)
    given_values = np.tile(np.array([[1, 1], [0.5, -2]], "float32"), (400, 1, 1))
    dropped = network(given_values, training=True).numpy()
    assert set(map(tuple, dropped[:, [0, 2]])) == {(0.0, 0.5), (1.0, 0.0)}
    assert set(map(tuple, dropped[:, [1, 3]])) == {(0.0, -2.0), (1.0, 0.0)}
    assert 100 < dropped[:, 0].sum() < 300


@pytest.mark.parametrize("cut_off", ["conv", "classifier_dense"])
def test_split_model_patient_data_join_the_suffix(cut_off: str, tmp_path: Path) -> None:
    """The whole network can still be saved afterwards, which Keras prevents if the suffix begins at an input."""
    network = small_network()
    split = split_model(pool_before_concat(network), cut_off)
    assert [tensor.name for tensor in split.prefix.inputs] == ["picture"]
    (frontier,) = outputs(split.prefix, images())
    expected = network([images(), patient(RAW)])
    np.testing.assert_allclose(split.suffix([tf.constant(frontier), patient(RAW)]), expected, atol=1e-6)
    artifact.save_model(tmp_path, network, SPEC, {})
    np.testing.assert_array_equal(artifact.load_model(tmp_path)([images(), patient(RAW)]), expected)


def test_predictor_without_further_inputs_takes_them_as_missing() -> None:
    network = small_network()
    none = {"age": [np.nan] * 3, "sex": [""] * 3, "View Position": [""] * 3}
    predictor = Predictor(network, tf.distribute.get_strategy())
    alone = predictor.predict(tf.data.Dataset.from_tensors(images()))
    np.testing.assert_allclose(alone, network([images(), patient(none)]), atol=1e-6)
    both = predictor.predict(tf.data.Dataset.from_tensors((images(), patient(RAW))))
    assert np.abs(both - alone).max() > 1e-3


def test_spec_with_covariates_round_trips_and_names_inputs(tmp_path: Path) -> None:
    SPEC.write(tmp_path)
    assert ModelSpec.read(tmp_path) == SPEC
    assert {name: info.shape for name, info in SPEC.inputs.items()} == {
        "picture": (None, 32, 32, 1),
        "patient": (None, 4, 3),
    }
    assert list(SPEC.signatures["samples"]) == ["image_bytes", "age", "sex", "view_position"]
    assert list(SPEC.signatures["serving_default"]) == ["image_bytes"]


def test_spec_without_covariates_is_stored_as_before(tmp_path: Path) -> None:
    ModelSpec(32, ("Mass",), "efficientnet_lite0", "none", "conv", "fine_tuning").write(tmp_path)
    stored = json.loads((tmp_path / "contract.json").read_text())
    assert "covariates" not in stored
    assert list(stored["signatures"]) == ["serving_default", "pictures"]


SERVE_WITH_TENSORFLOW_ALONE = """
import json, pathlib, sys
import tensorflow as tf

folder, file = sys.argv[1:]
signatures = tf.saved_model.load(folder).signatures
image = tf.constant([pathlib.Path(file).read_bytes()] * 3)
given = dict(age=tf.constant([70., float("nan"), 412.]), sex=tf.constant(["F", "", "x"]),
             view_position=tf.constant(["PA", "AP", ""]))
nothing = dict(age=tf.constant([float("nan")] * 3), sex=tf.constant([""] * 3), view_position=tf.constant([""] * 3))
assert "radiograft" not in sys.modules
print(json.dumps([
    signatures["serving_default"](image_bytes=image)["probabilities"].numpy().tolist(),
    signatures["samples"](image_bytes=image, **nothing)["probabilities"].numpy().tolist(),
    signatures["samples"](image_bytes=image, **given)["probabilities"].numpy().tolist(),
]))
"""


def test_export_saved_model_serves_raw_values_and_missing_ones(tmp_path: Path) -> None:
    network, image = small_network(), noise(32, 0)
    artifact.save_model(tmp_path / "model", network, SPEC, {})
    artifact.export_saved_model(artifact.load_model(tmp_path / "model"), SPEC, tmp_path / "saved")
    (tmp_path / "image.png").write_bytes(encode(image))
    command = [sys.executable, "-c", SERVE_WITH_TENSORFLOW_ALONE, str(tmp_path / "saved"), str(tmp_path / "image.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    default, nothing, given_values = np.array(json.loads(done.stdout))
    repeated = tf.constant(np.repeat(image[None, ..., None], 3, axis=0))
    np.testing.assert_allclose(default, nothing, atol=1e-6)
    np.testing.assert_allclose(given_values, network([repeated, patient(RAW)]), atol=1e-6)
    assert np.abs(given_values - nothing).max() > 1e-3
