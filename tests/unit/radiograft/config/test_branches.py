"""Settings that cannot be combined with an attention-guided network are refused with the reason."""

from __future__ import annotations

import pytest

from radiograft.config import Preprocess, all_settings, branches
from radiograft.config.base import Scalar
from radiograft.config.resolution import CUTOFF_SEARCH, TRANSFER_LEARNING, combine, fill_defaults

REQUIRED = {"data_source": "data", "publish_registry": "registry"}
GUIDED: dict[str, Scalar] = {**REQUIRED, "model_branches": "attention_guided", "image_crop_size": 448}


def test_fill_defaults_accepts_attention_guided() -> None:
    assert fill_defaults(GUIDED)["image_crop_size"] == 448


def test_fill_defaults_default_is_one_global_network() -> None:
    values = fill_defaults(REQUIRED)
    assert (values["model_branches"], values["image_crop_size"]) == ("global", 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_crop_size": 0}, r"image_crop_size must be given .* got 0: set it to twice image_size \(448\)"),
        ({"model_feature_layer": "all"}, "model_feature_layer must be last .* because the crop follows .* got 'all'"),
        ({"train_augmentation": "online"}, "train_augmentation must not be online .* because crops are cut once"),
        (
            {"compare_backbones": "densenet121,resnet50"},
            "compare_backbones must be empty .* because a comparison trains the global branch only",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_fill_defaults_attention_guided_conflict_raises(changes: dict[str, Scalar], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fill_defaults(GUIDED | changes)


def test_fill_defaults_crop_size_of_global_network_raises() -> None:
    with pytest.raises(ValueError, match="image_crop_size must be 0 unless model_branches=attention_guided"):
        fill_defaults(GUIDED | {"model_branches": "global"})


def test_combine_cutoff_search_of_attention_guided_raises() -> None:
    assert combine(TRANSFER_LEARNING, GUIDED, [])["model_branches"] == "attention_guided"
    with pytest.raises(ValueError, match="model_branches must be global for the pipeline cutoff_search"):
        combine(CUTOFF_SEARCH, GUIDED, [])


@pytest.mark.parametrize("size", [200, 232])
def test_preprocess_crop_size_below_image_size_or_off_the_grid_raises(size: int) -> None:
    with pytest.raises(ValueError, match=rf"image_crop_size must be 0, or a multiple of 16 .* \(224\) on, got {size}"):
        Preprocess(image_crop_size=size)


def test_stored_size_is_crop_size_or_image_size() -> None:
    assert Preprocess(image_size=64).stored_size == 64
    assert Preprocess(image_size=64, image_crop_size=96).stored_size == 96


def test_every_required_setting_that_exists_has_the_required_default() -> None:
    """A new setting that is listed as unsupported must not be refused with its default."""
    known = all_settings()
    listed = {name: value for name, (value, _) in branches.REQUIRED.items() if name in known}
    assert {name: known[name].default for name in listed} == listed
