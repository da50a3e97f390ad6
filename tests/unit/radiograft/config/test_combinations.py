"""Settings that cannot be combined are refused with the reason, before any image is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from radiograft.config import Preprocess, all_settings
from radiograft.config.base import Scalar
from radiograft.config.combinations import REQUIRED_BY_BRANCHES, REQUIRED_BY_CLASS_MAP, REQUIRED_BY_REGRESSION, Rules
from radiograft.config.resolution import CUTOFF_SEARCH, TRANSFER_LEARNING, combine, fill_defaults
from radiograft.stages.ingest import task as ingest
from tests.helpers.images import encode, noise
from tests.helpers.nih_source import put

REQUIRED = {"data_source": "/data", "publish_registry": "/registry", "publish_model_name": "model"}
GUIDED: dict[str, Scalar] = {**REQUIRED, "model_branches": "attention_guided", "image_crop_size": 448}


@pytest.mark.parametrize("rules", [REQUIRED_BY_BRANCHES, REQUIRED_BY_CLASS_MAP, REQUIRED_BY_REGRESSION])
def test_rules_every_required_value_is_the_default(rules: Rules) -> None:
    """A setting that is left alone must never be rejected."""
    listed = {name: value for name, (value, _) in rules.items() if name in all_settings()}
    assert {name: all_settings()[name].default for name in listed} == listed


def test_fill_defaults_class_map_of_several_layers_raises() -> None:
    with pytest.raises(ValueError, match="model_feature_layer") as error:
        fill_defaults({**REQUIRED, "model_pooling": "lse", "model_feature_layer": "all"})
    assert str(error.value) == (
        "model_feature_layer must be last with model_pooling=lse, got 'all': the class map is computed from the last "
        "activation alone; or choose model_pooling=average"
    )


@pytest.mark.parametrize("layer", ["auto", "conv5_block15_concat"])
def test_fill_defaults_class_map_of_another_layer_raises(layer: str) -> None:
    with pytest.raises(ValueError, match=f"model_feature_layer must be last with model_pooling=max, got '{layer}'"):
        fill_defaults({**REQUIRED, "model_pooling": "max", "model_feature_layer": layer})


def test_fill_defaults_noisy_or_of_exclusive_classes_raises() -> None:
    classes = {**REQUIRED, "data_labels": "Mass,Nodule", "data_task": "multiclass"}
    with pytest.raises(ValueError, match="model_pooling must not be noisy_or with data_task=multiclass"):
        fill_defaults({**classes, "model_pooling": "noisy_or"})
    assert fill_defaults({**classes, "model_pooling": "lse"})["model_pooling"] == "lse"


@pytest.mark.parametrize(
    "changes",
    [
        {"model_patient_data": "age"},
        {"model_views": "frontal_lateral", "data_unit": "study", "data_format": "chexpert"},
    ],
    ids=["patient data", "lateral images"],
)
def test_fill_defaults_class_map_with_other_inputs_raises(changes: dict[str, Scalar]) -> None:
    name, value = next(iter(changes.items()))
    assert fill_defaults({**REQUIRED, "model_pooling": "average", **changes})[name] == value
    assert fill_defaults({**REQUIRED, "model_pooling": "csra"})["model_pooling"] == "csra"
    with pytest.raises(ValueError, match=rf"{name} must be \w+ with model_pooling=csra, got '{value}'"):
        fill_defaults({**REQUIRED, "model_pooling": "csra", **changes})


def test_fill_defaults_class_map_of_numbers_raises() -> None:
    numbers = {**REQUIRED, "data_task": "regression", "data_format": "table"}
    assert fill_defaults(numbers)["model_pooling"] == "average"
    with pytest.raises(ValueError, match="model_pooling must be average with data_task=regression, got 'csra'"):
        fill_defaults({**numbers, "model_pooling": "csra"})


def test_fill_defaults_average_pooling_accepts_every_layer() -> None:
    assert fill_defaults({**REQUIRED, "model_feature_layer": "all"})["model_pooling"] == "average"


def test_ingest_exclusive_classes_that_the_labels_reveal_refuses_noisy_or(tmp_path: Path) -> None:
    """`data_task=auto` is multiclass if every image has exactly one of the labels."""
    names = [f"{name}/{number}.png" for name in ("left", "right") for number in range(8)]
    files = {name: encode(noise(40, number)) for number, name in enumerate(names)}
    form = {
        **REQUIRED,
        "data_source": put(files, str(tmp_path / "data")),
        "data_format": "folders",
        "data_labels": "left,right",
        "model_pooling": "noisy_or",
        "publish_registry": str(tmp_path / "registry"),
    }
    with pytest.raises(ValueError, match="choose lse, or data_task=multilabel"):
        ingest.run_with_all_settings(fill_defaults(form), tmp_path / "catalog", "a-run")


def test_fill_defaults_boxes_without_class_map_raises() -> None:
    with pytest.raises(ValueError, match=r"train_box_weight must be 0 with model_pooling=average, got 2\.0"):
        fill_defaults({**REQUIRED, "train_box_weight": 2.0})


def test_fill_defaults_boxes_of_exclusive_classes_raises() -> None:
    classes = {**REQUIRED, "data_labels": "Mass,Nodule", "data_task": "multiclass", "model_pooling": "lse"}
    with pytest.raises(ValueError, match=r"train_box_weight must be 0 with data_task=multiclass, got 2\.0"):
        fill_defaults({**classes, "train_box_weight": 2.0})


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


def test_fill_defaults_boxes_with_two_heads_raises() -> None:
    with pytest.raises(ValueError, match=r"train_box_weight must be 0 with model_pooling=self_transfer, got 2\.0: its"):
        fill_defaults({**REQUIRED, "model_pooling": "self_transfer", "train_box_weight": 2.0})


def test_fill_defaults_distillation_of_one_epoch_raises() -> None:
    with pytest.raises(
        ValueError, match="train_members must be at least 2 with train_distillation_epochs=2, got 1: an ens"
    ):
        fill_defaults({**REQUIRED, "train_distillation_epochs": 2})
