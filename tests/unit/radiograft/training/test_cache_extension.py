"""Extending cached activations from one cut-off to the next, and freeing their disk space."""

from __future__ import annotations

import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radiograft.backbones import get_backbone
from radiograft.models.cut_offs import candidate_cut_offs
from radiograft.models.graph_split import SplitModel, bridge_model, pool_before_concat, split_model
from radiograft.models.predictor import Predictor
from radiograft.training.activation_cache import CachedActivations, extend_activations, peak_bytes
from tests.helpers.networks import IMAGES, every_backbone, network, outputs

COPIES = np.stack([IMAGES, IMAGES[:, ::-1]])
HALF = 2.0**-11  # largest relative rounding error of half precision


def cache(cut: SplitModel) -> CachedActivations:
    """Returns the outputs of the prefix for COPIES, in half precision."""
    copies = [outputs(cut.prefix, images) for images in COPIES]
    parts = [np.stack(part).astype("float16") for part in zip(*copies, strict=True)]
    return CachedActivations(parts, np.zeros((3, 2), dtype="float32"), ["a", "b", "c"])


def extend_over(activations: CachedActivations, cuts: list[SplitModel], folder: Path) -> CachedActivations:
    """Extends activations from the first split over all others to the last."""
    for number, pair in enumerate(itertools.pairwise(cuts)):
        layers = Predictor(bridge_model(*pair), tf.distribute.get_strategy())
        activations = extend_activations(activations, layers, "train", batch_size=2, folder=folder / str(number))
    return activations


@every_backbone
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.sets(st.integers(0, 15), min_size=2, max_size=4))
def test_extend_activations_matches_cache_at_deeper_cut_off(
    name: str, chosen: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = pool_before_concat(network(name))
    cuts = [
        split_model(model, candidate_cut_offs(network(name), get_backbone(name))[number]) for number in sorted(chosen)
    ]
    activations = extend_over(cache(cuts[0]), cuts, tmp_path_factory.mktemp("extended"))
    for part, expected in zip(activations.parts, cache(cuts[-1]).parts, strict=True):
        assert (part.dtype, part.shape) == (np.float16, expected.shape)
        np.testing.assert_allclose(part, expected, rtol=0, atol=4 * HALF * np.abs(expected).max())
    for copy, images in enumerate(COPIES):
        whole = outputs(network(name), images)[0]
        # Rounding before the first blocks of ResNet50 changes a probability by 0.002.
        np.testing.assert_allclose(outputs(cuts[-1].suffix, [p[copy] for p in activations.parts])[0], whole, atol=1e-2)
    assert activations.image_ids == ["a", "b", "c"]


def test_extend_activations_shared_frontier_tensor_is_kept(tmp_path: Path) -> None:
    model = pool_before_concat(network("densenet121"))
    cuts = [split_model(model, f"conv5_block16_{end}") for end in ("1_conv", "1_bn", "2_conv")]
    frontiers = [{id(tensor) for tensor in cut.prefix.outputs} for cut in cuts]
    assert frontiers[0] & frontiers[1] & frontiers[2]
    activations = extend_over(cache(cuts[0]), cuts, tmp_path)
    for part, expected in zip(activations.parts, cache(cuts[2]).parts, strict=True):
        np.testing.assert_allclose(part, expected, rtol=0, atol=4 * HALF * np.abs(expected).max())


def test_extend_activations_number_above_float16_raises(tmp_path: Path) -> None:
    numbers = keras.Input((2,))
    huge = Predictor(keras.Model(numbers, [keras.layers.Rescaling(1e5)(numbers)]), tf.distribute.get_strategy())
    activations = CachedActivations([np.ones((1, 3, 2), "float16")], np.zeros((3, 1), "float32"), ["a", "b", "c"])
    with pytest.raises(FloatingPointError, match="cached activations must stay below 65504, got 1"):
        extend_activations(activations, huge, "train", batch_size=2, folder=tmp_path)


def test_discard_deletes_files(tmp_path: Path) -> None:
    numbers = keras.Input((2,))
    twice = Predictor(keras.Model(numbers, [keras.layers.Rescaling(2.0)(numbers)]), tf.distribute.get_strategy())
    activations = CachedActivations([np.ones((2, 3, 2), "float16")], np.zeros((3, 1), "float32"), ["a", "b", "c"])
    first = extend_activations(activations, twice, "train", batch_size=2, folder=tmp_path / "first")
    second = extend_activations(first, twice, "train", batch_size=2, folder=tmp_path / "second")
    first.discard()
    assert [path.name for path in tmp_path.rglob("*.npy")] == ["train-0.npy"]
    np.testing.assert_array_equal(second.parts[0], np.full((2, 3, 2), 4.0))
    activations.discard()  # in memory, without a file


@pytest.mark.parametrize(("sizes", "peak"), [([7], 7), ([5, 3], 8), ([10, 1, 2, 12, 3], 15), ([1, 2, 9], 11), ([], 0)])
def test_peak_bytes_is_largest_sum_of_neighbors(sizes: list[int], peak: int) -> None:
    assert peak_bytes(sizes) == peak
