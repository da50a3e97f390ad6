"""A network that was stored under one dtype policy and is to be trained under another."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from radiograft.models.backbone import build_backbone
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor, cast_to_policy

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
LITE = [("efficientnet_lite0", *pair) for pair in itertools.permutations(POLICIES, 2)]


@pytest.fixture(autouse=True)
def float32_afterwards() -> Iterator[None]:
    yield
    keras.config.set_dtype_policy("float32")


@functools.cache
def built(backbone: str, policy: str) -> keras.Model:
    """A whole network that was made under a policy."""
    keras.config.set_dtype_policy(policy)
    features = build_feature_extractor(build_backbone(backbone, "none", "", 32))
    classifier = build_classifier(features.output.shape[-1], 2, dense_units=4, dropout=0.5, l2=1e-4, seed=0)
    return attach_classifier(features, classifier)


def policies(model: keras.Model) -> list[str]:
    return [layer.dtype_policy.name for layer in model.layers[1:]]


@pytest.mark.parametrize(("backbone", "stored", "wanted"), [*LITE, ("densenet121", "float32", "mixed_float16")])
def test_a_stored_network_computes_as_one_that_is_built_now(
    backbone: str, stored: str, wanted: str, tmp_path: Path
) -> None:
    """Fails where a layer keeps the policy it was stored with, where one that is float32 by itself is rounded, or where
    a weight or a random state is another.
    """
    built(backbone, stored).save(tmp_path / "model.keras")
    expected = policies(built(backbone, wanted))
    keras.config.set_dtype_policy(wanted)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    found = cast_to_policy(loaded)
    assert policies(found) == expected
    assert found.get_layer("pooled").compute_dtype == found.output.dtype == "float32"
    for layer in loaded.layers:
        for mine, theirs in zip(found.get_layer(layer.name).variables, layer.variables, strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_network_of_the_present_precision_is_left_as_it_is(policy: str, tmp_path: Path) -> None:
    """Fails where every network is copied."""
    built("efficientnet_lite0", policy).save(tmp_path / "model.keras")
    keras.config.set_dtype_policy(policy)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert cast_to_policy(loaded) is loaded
