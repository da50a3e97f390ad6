"""Activations at one cut lead to those at the next without the images, and the disk gets its space back."""

from __future__ import annotations

import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radiograft.models.cut_offs import candidate_cut_offs
from radiograft.models.early_pooling import pool_before_concat
from radiograft.models.graph_split import SplitModel, bridge_model, split_model
from radiograft.models.predictor import Predictor
from radiograft.training.activation_cache import CachedActivations, extend_activations, peak_bytes
from tests.helpers.networks import IMAGES, every_backbone, network, outputs, spec

VIEWS = np.stack([IMAGES, IMAGES[:, ::-1]])
HALF = 2.0**-11  # the largest relative error of rounding to half precision


def stored(cut: SplitModel) -> CachedActivations:
    """What the prefix makes of VIEWS, in half precision."""
    views = [outputs(cut.prefix, images) for images in VIEWS]
    parts = [np.stack(part).astype("float16") for part in zip(*views, strict=True)]
    return CachedActivations(parts, np.zeros((3, 2), dtype="float32"), ["a", "b", "c"])


def extended(activations: CachedActivations, cuts: list[SplitModel], folder: Path) -> CachedActivations:
    """From the first cut to the last, over all between."""
    for number, pair in enumerate(itertools.pairwise(cuts)):
        layers = Predictor(bridge_model(*pair), tf.distribute.get_strategy())
        activations = extend_activations(activations, layers, "train", batch_size=2, folder=folder / str(number))
    return activations


@every_backbone
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.sets(st.integers(0, 15), min_size=2, max_size=4))
def test_extended_activations_are_those_cached_at_the_deeper_cut(
    name: str, chosen: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = pool_before_concat(network(name))
    cuts = [split_model(model, candidate_cut_offs(network(name), spec(name))[number]) for number in sorted(chosen)]
    found = extended(stored(cuts[0]), cuts, tmp_path_factory.mktemp("extended"))
    for part, direct in zip(found.parts, stored(cuts[-1]).parts, strict=True):
        assert (part.dtype, part.shape) == (np.float16, direct.shape)
        np.testing.assert_allclose(part, direct, rtol=0, atol=4 * HALF * np.abs(direct).max())
    for view, images in enumerate(VIEWS):
        whole = outputs(network(name), images)[0]
        # Rounding in front of the first blocks of ResNet50 changes a probability by 0.002.
        np.testing.assert_allclose(outputs(cuts[-1].suffix, [p[view] for p in found.parts])[0], whole, atol=1e-2)
    assert found.image_ids == ["a", "b", "c"]


def test_a_tensor_that_both_cuts_meet_passes_through(tmp_path: Path) -> None:
    model = pool_before_concat(network("densenet121"))
    cuts = [split_model(model, f"conv5_block16_{end}") for end in ("1_conv", "1_bn", "2_conv")]
    frontiers = [{id(tensor) for tensor in cut.prefix.outputs} for cut in cuts]
    assert frontiers[0] & frontiers[1] & frontiers[2]
    found = extended(stored(cuts[0]), cuts, tmp_path)
    for part, direct in zip(found.parts, stored(cuts[2]).parts, strict=True):
        np.testing.assert_allclose(part, direct, rtol=0, atol=4 * HALF * np.abs(direct).max())


def test_an_extended_activation_beyond_half_precision_is_refused(tmp_path: Path) -> None:
    numbers = keras.Input((2,))
    huge = Predictor(keras.Model(numbers, [keras.layers.Rescaling(1e5)(numbers)]), tf.distribute.get_strategy())
    kept = CachedActivations([np.ones((1, 3, 2), "float16")], np.zeros((3, 1), "float32"), ["a", "b", "c"])
    with pytest.raises(FloatingPointError, match="cached activations must stay below 65504, got 1"):
        extend_activations(kept, huge, "train", batch_size=2, folder=tmp_path)


def test_discarded_activations_leave_the_disk(tmp_path: Path) -> None:
    numbers = keras.Input((2,))
    twice = Predictor(keras.Model(numbers, [keras.layers.Rescaling(2.0)(numbers)]), tf.distribute.get_strategy())
    kept = CachedActivations([np.ones((2, 3, 2), "float16")], np.zeros((3, 1), "float32"), ["a", "b", "c"])
    first = extend_activations(kept, twice, "train", batch_size=2, folder=tmp_path / "first")
    second = extend_activations(first, twice, "train", batch_size=2, folder=tmp_path / "second")
    first.discard()
    assert [path.name for path in tmp_path.rglob("*.npy")] == ["train-0.npy"]
    np.testing.assert_array_equal(second.parts[0], np.full((2, 3, 2), 4.0))
    kept.discard()  # in memory: there is no file


@pytest.mark.parametrize(("sizes", "most"), [([7], 7), ([5, 3], 8), ([10, 1, 2, 12, 3], 15), ([1, 2, 9], 11), ([], 0)])
def test_two_neighbors_lie_on_disk_at_once(sizes: list[int], most: int) -> None:
    assert peak_bytes(sizes) == most
