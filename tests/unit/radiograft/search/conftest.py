"""The backbone of the tests of the search."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from radiograft import backbones
from tests.helpers.minimal_run import three_layers


@pytest.fixture(scope="module", autouse=True)
def small_backbone() -> Iterator[None]:
    """Replaces EfficientNet-Lite0 by two convolutions."""
    name = "efficientnet_lite0"
    small = dataclasses.replace(
        backbones.get_backbone(name),
        build=three_layers,
        cut_offs=("stem_conv", "top_conv"),
        taps=("stem_conv", "top_conv"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones._backbones(), name, small)
        yield
