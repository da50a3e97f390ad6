"""Training a network under another dtype policy than the one under which it was saved."""

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
def build_under(backbone: str, policy: str) -> keras.Model:
    """Builds a whole network under a policy."""
    keras.config.set_dtype_policy(policy)
    features = build_feature_extractor(build_backbone(backbone, "none", "", 32))
    classifier = build_classifier(features.output.shape[-1], 2, dense_units=4, dropout=0.5, l2=1e-4, seed=0)
    return attach_classifier(features, classifier)


def policies(model: keras.Model) -> list[str]:
    return [layer.dtype_policy.name for layer in model.layers[1:]]


@pytest.mark.parametrize(("backbone", "saved", "target"), [*LITE, ("densenet121", "float32", "mixed_float16")])
def test_cast_to_policy_matches_network_built_under_policy(
    backbone: str, saved: str, target: str, tmp_path: Path
) -> None:
    """Fails if a layer keeps its saved policy, a layer that must be float32 is cast, or a variable changes."""
    build_under(backbone, saved).save(tmp_path / "model.keras")
    expected = policies(build_under(backbone, target))
    keras.config.set_dtype_policy(target)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    cast = cast_to_policy(loaded)
    assert policies(cast) == expected
    assert cast.get_layer("pooled").compute_dtype == cast.output.dtype == "float32"
    for layer in loaded.layers:
        for actual, original in zip(cast.get_layer(layer.name).variables, layer.variables, strict=True):
            assert actual.dtype == original.dtype
            np.testing.assert_array_equal(actual, original)


@pytest.mark.parametrize("policy", POLICIES)
def test_cast_to_policy_with_same_policy_returns_network_itself(policy: str, tmp_path: Path) -> None:
    """Fails if every network is copied."""
    build_under("efficientnet_lite0", policy).save(tmp_path / "model.keras")
    keras.config.set_dtype_policy(policy)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert cast_to_policy(loaded) is loaded
