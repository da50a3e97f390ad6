"""Settings that cannot be combined are refused with the reason, before any image is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from radiograft.config.pooling import check_pooling
from radiograft.config.resolution import fill_defaults
from radiograft.stages.ingest import task as ingest
from tests.helpers.images import encode, noise
from tests.helpers.nih_source import put

REQUIRED = {"data_source": "/data", "publish_registry": "/registry", "publish_model_name": "model"}


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
    ("name", "value"), [("model_patient_data", "age"), ("model_views", "frontal_lateral"), ("data_task", "regression")]
)
def test_check_pooling_class_map_with_other_inputs_or_numbers_raises(name: str, value: str) -> None:
    values = {
        "model_pooling": "csra",
        "train_box_weight": 0.0,
        "data_task": "multilabel",
        "model_feature_layer": "last",
    }
    check_pooling(values)
    with pytest.raises(
        ValueError, match=rf"must be \w+ with \w+=\w+, got '{'csra' if name == 'data_task' else value}'"
    ):
        check_pooling({**values, name: value})
    check_pooling({**values, "model_pooling": "average", name: value})


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


def test_fill_defaults_distillation_of_one_epoch_raises() -> None:
    with pytest.raises(
        ValueError, match="train_members must be at least 2 with train_distillation_epochs=2, got 1: an ens"
    ):
        fill_defaults({**REQUIRED, "train_distillation_epochs": 2})


def test_fill_defaults_boxes_with_two_heads_raises() -> None:
    with pytest.raises(ValueError, match=r"train_box_weight must be 0 with model_pooling=self_transfer, got 2\.0: its"):
        fill_defaults({**REQUIRED, "model_pooling": "self_transfer", "train_box_weight": 2.0})
