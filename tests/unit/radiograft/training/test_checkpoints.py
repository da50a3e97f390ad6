"""Checkpoints: saved states are found for the same inputs only, and never if they are corrupt."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from radiograft import storage
from radiograft.training.checkpoints import Checkpoints, CheckpointState, weights_digest

ARRAYS = {"state-0": np.float32([[1, 2], [3, 4]]), "best-0": np.arange(3)}
FACTS = {"epochs": [{"loss": 0.1, "val_loss": float("inf")}], "best_epoch": 1}

stored_arrays = st.dictionaries(
    st.text("abc-0123/ é:", min_size=1, max_size=8).filter(lambda name: not name.startswith("/")),
    st.one_of(
        [
            arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
            for dtype in ("float16", "float32", "float64", "int8", "int64", "uint32", "bool")
        ]
    ),
    max_size=4,
)
facts = st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=9)))


def files(place: str) -> list[str]:
    try:
        return [entry.name for entry in storage.list_files(place)]
    except FileNotFoundError:
        return []


def numbers(checkpoints: Checkpoints) -> list[int]:
    return [state.number for state in checkpoints.all()]


def latest(checkpoints: Checkpoints) -> CheckpointState:
    state = checkpoints.latest()
    assert state is not None
    return state


def check_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@settings(max_examples=50, deadline=None)
@given(content=stored_arrays, facts=facts)
def test_latest_returns_saved_arrays_and_facts(content: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder).of("training")
        checkpoints.save(7, content, facts, keep=False)
        state = latest(checkpoints)
    assert (state.number, state.facts) == (7, facts)
    check_equal(state.arrays, content)


def test_save_without_keep_deletes_earlier_states(place: str) -> None:
    checkpoints = Checkpoints.of_task(place, "run-1", "fine-tune").of("fine_tuning", {"train_seed": 0})
    assert checkpoints.latest() is None
    assert numbers(checkpoints) == []
    for number in (1, 2, 10):
        checkpoints.save(number, ARRAYS | {"number": np.array(number)}, FACTS, keep=False)
        state = latest(checkpoints)
        assert state.number == state.arrays["number"] == number
        assert state.facts == FACTS
        assert numbers(checkpoints) == [number]
    assert len(files(place)) == 1
    assert files(place)[0].startswith("_checkpoints/run-1/fine-tune/fine_tuning/")


def test_all_yields_kept_states_by_number(place: str) -> None:
    checkpoints = Checkpoints(place).of("train", "facts")
    for number in (16, 4, 1000, 8):
        checkpoints.save(number, {"features": np.full((2, 3), number)}, {}, keep=True)
    assert numbers(checkpoints) == [4, 8, 16, 1000]
    assert [int(state.arrays["features"][0, 0]) for state in checkpoints.all()] == [4, 8, 16, 1000]
    assert latest(checkpoints).number == 1000


def test_save_same_number_again_replaces_state(place: str) -> None:
    checkpoints = Checkpoints(place).of("training")
    for value in (1.0, 2.0):
        checkpoints.save(3, {"weight": np.array(value)}, {}, keep=False)
    assert numbers(checkpoints) == [3]
    assert latest(checkpoints).arrays["weight"] == 2.0


def test_of_other_inputs_finds_no_state(place: str) -> None:
    task = Checkpoints.of_task(place, "run", "task")
    task.of("training", {"rate": 0.1}, "digest", 2).save(1, ARRAYS, FACTS, keep=False)
    assert latest(task.of("training", {"rate": 0.1}, "digest", 2)).number == 1
    others = [
        task.of("training", {"rate": 0.2}, "digest", 2),
        task.of("training", {"rate": 0.1}, "other", 2),
        task.of("training", {"rate": 0.1}, "digest", 1),
        task.of("training", {"rate": 0.1}, "digest"),
        task.of("another training", {"rate": 0.1}, "digest", 2),
        Checkpoints.of_task(place, "run", "task-2").of("training", {"rate": 0.1}, "digest", 2),
        Checkpoints.of_task(place, "run-2", "task").of("training", {"rate": 0.1}, "digest", 2),
    ]
    assert [other.latest() for other in others] == [None] * 7


def test_of_other_dtype_policy_finds_no_state(tmp_path: Path) -> None:
    Checkpoints(str(tmp_path)).of("training").save(1, ARRAYS, FACTS, keep=False)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert Checkpoints(str(tmp_path)).of("training").latest() is None
    finally:
        keras.config.set_dtype_policy(before)
    assert Checkpoints(str(tmp_path)).of("training").latest() is not None


def test_of_other_package_versions_finds_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checkpoints(str(tmp_path)).of("training").save(1, ARRAYS, FACTS, keep=False)
    monkeypatch.setattr("radiograft.training.checkpoints.importlib.metadata.version", lambda name: "0.0")
    assert Checkpoints(str(tmp_path)).of("training").latest() is None


def test_save_without_root_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = Checkpoints.of_task("", "run", "task")
    checkpoints = task.of("training", "facts")
    checkpoints.save(1, ARRAYS, FACTS, keep=False)
    assert checkpoints.latest() is None
    assert numbers(checkpoints) == []
    assert list(tmp_path.rglob("*")) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_latest_flipped_bit_returns_none_and_warns(place: float, bit: int, caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder).of("training")
        checkpoints.save(2, ARRAYS, FACTS, keep=False)
        (file,) = Path(folder).rglob("00000002.state")
        content = bytearray(file.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        file.write_bytes(content)
        caplog.clear()
        assert checkpoints.latest() is None
        assert numbers(checkpoints) == []
        expected = ("radiograft.training.checkpoints", logging.WARNING, f"ignoring the corrupt checkpoint {file}")
        assert caplog.record_tuples == [expected] * 2


@pytest.mark.parametrize("kept", [0, 1, 31, 32, 100, -1])
def test_latest_truncated_file_returns_none(tmp_path: Path, kept: int) -> None:
    checkpoints = Checkpoints(str(tmp_path)).of("training")
    checkpoints.save(1, ARRAYS, FACTS, keep=False)
    (file,) = tmp_path.rglob("*.state")
    file.write_bytes(file.read_bytes()[:kept])
    assert checkpoints.latest() is None


def test_all_stops_at_corrupt_state(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path)).of("training")
    for number in (1, 2, 3):
        checkpoints.save(number, ARRAYS, FACTS, keep=True)
    (file,) = tmp_path.rglob("00000002.state")
    file.write_bytes(b"something else")
    assert numbers(checkpoints) == [1]


def test_save_python_objects_raises(tmp_path: Path) -> None:
    checkpoints = Checkpoints(str(tmp_path)).of("training")
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        checkpoints.save(1, {"state-0": np.array([{}, None])}, FACTS, keep=False)
    assert checkpoints.latest() is None


def test_weights_digest_differs_for_other_weights() -> None:
    def network(value: float) -> keras.Model:
        inputs = keras.Input((2,))
        weights = keras.initializers.Constant(value)
        return keras.Model(inputs, keras.layers.Dense(3, kernel_initializer=weights)(inputs))

    assert weights_digest(network(0.5)) == weights_digest(network(0.5)) != weights_digest(network(0.5000001))


@pytest.mark.parametrize("other", [{"scale": 2.0}, {"strides": 2}])
def test_weights_digest_differs_for_other_scaling_or_strides(other: dict[str, float]) -> None:
    """Weights of another origin may be the same numbers in a network that scales its input or strides otherwise."""

    def network(scale: float = 1.0, strides: int = 1) -> keras.Model:
        inputs = keras.Input((4, 4, 1))
        scaled = keras.layers.Rescaling(scale)(inputs)
        return keras.Model(inputs, keras.layers.Conv2D(1, 1, strides=strides, kernel_initializer="ones")(scaled))

    assert weights_digest(network()) == weights_digest(network()) != weights_digest(network(**other))
