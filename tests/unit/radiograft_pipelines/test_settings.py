"""A settings file and its overrides become the run form's values, every one checked, or one clear message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from radiograft.config import all_settings
from radiograft_pipelines.settings import (
    PRESETS_FOLDER,
    apply_overrides,
    fill_defaults,
    for_search,
    full_name,
    load_settings_file,
)

SHIPPED = sorted(path.stem for path in PRESETS_FOLDER.glob("*.yaml"))
NEEDED: dict[str, Any] = {"data_source": "/data", "publish_registry": "/registry"}


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_demo_and_the_posters_configuration_are_shipped() -> None:
    assert {"demo", "chestxray14"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_is_accepted_by_all_stages(name: str) -> None:
    assert set(fill_defaults({"data_source": "/data"} | load_settings_file(name))) == set(all_settings())


def test_chestxray14_is_the_poster() -> None:
    values = fill_defaults(apply_overrides(load_settings_file("chestxray14"), ["source=/data/nih"]))
    expected = {
        "data_format": "chestxray14",
        "data_source": "/data/nih",
        "image_size": 224,
        "model_backbone": "densenet121",
        "model_cut_off": "conv5_block16_2_conv",
        "model_weights": "imagenet",
        "train_optimizer": "adam",
    }
    assert expected.items() <= values.items()


def test_the_demo_needs_no_network() -> None:
    values = fill_defaults(load_settings_file("demo"))
    assert (values["data_format"], values["model_backbone"]) == ("phantom", "efficientnet_lite0")
    assert values["publish_model_name"] == "phantom-radiograph"  # no opponent of models of real radiographs
    assert values["data_source"] == "gs://radiograft-embedded/phantom"
    assert values["publish_registry"] == "gs://radiograft-embedded/registry"


def test_a_file_is_found_by_path_and_may_use_short_names(tmp_path: Path) -> None:
    path = write(tmp_path, "source: /data\nimage_size: 64\nl2: 1e-4\nrandom_baseline: true\n")
    assert load_settings_file(path) == {
        "data_source": "/data",
        "image_size": 64,
        "model_l2": 1e-4,
        "model_random_baseline": True,
    }


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("source", "data_source"),
        ("labels", "data_labels"),
        ("backbone", "model_backbone"),
        ("weights", "model_weights"),
        ("weights_md5", "model_weights_md5"),
        ("registry", "publish_registry"),
        ("seed", "train_seed"),
        ("image_size", "image_size"),
        ("size", "image_size"),
    ],
)
def test_names_may_lack_their_prefix(short: str, full: str) -> None:
    assert full_name(short) == full
    assert full_name(full) == full


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bakbone", "there is no setting 'bakbone'; did you mean 'backbone' or 'model_backbone' or 'table'?"),
        (
            "data_lables",
            "there is no setting 'data_lables'; did you mean 'data_labels' or 'data_table' or 'data_negatives'?",
        ),
        ("qqqqqq", "there is no setting 'qqqqqq'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        load_settings_file(write(tmp_path, f"{name}: 1"))
    assert str(error.value) == message
    with pytest.raises(ValueError) as error:  # noqa: PT011
        apply_overrides({}, [f"{name}=1"])
    assert str(error.value) == message


def test_a_missing_file_is_answered_with_the_shipped_ones() -> None:
    with pytest.raises(FileNotFoundError) as error:
        load_settings_file("chestxray")
    assert str(error.value) == (
        "settings must be a file or one of chestxray14, demo, pneumoniamnist, got 'chestxray'; "
        "did you mean 'chestxray14'?"
    )


@pytest.mark.parametrize(("text", "kind"), [("- image_size", "list"), ("image_size", "str"), ("", "NoneType")])
def test_a_file_must_be_a_mapping(tmp_path: Path, text: str, kind: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        load_settings_file(path)
    assert str(error.value) == f"{path} must hold lines of `name: value`, got {kind}"


def test_a_file_must_be_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, "image_size: [224")
    with pytest.raises(ValueError, match=f"^{path} must be YAML: "):
        load_settings_file(path)


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("image_size: '224'", TypeError, "image_size must be of type int, got '224' (str)"),
        ("image_size: 224.5", TypeError, "image_size must be of type int, got 224.5 (float)"),
        ("image_size:", TypeError, "image_size must be of type int, got None (NoneType)"),
        ("data_labels: [Mass, Edema]", TypeError, "data_labels must be of type str, got ['Mass', 'Edema'] (list)"),
        ("source: 7", TypeError, "data_source must be of type str, got 7 (int)"),
        ("source: ''", ValueError, "data_source must be given "),
        ("dropout: high", ValueError, "model_dropout must be of type float, got 'high'"),
        ("image_size: 250", ValueError, "image_size must be a multiple of 32, got 250"),
        ("optimizer: adamm", ValueError, "train_optimizer must be one of adam, adamw, rmsprop, sgd, got 'adamm'"),
    ],
)
def test_a_wrong_value_in_a_file_is_refused(tmp_path: Path, line: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        fill_defaults(NEEDED | load_settings_file(write(tmp_path, line)))
    assert str(error.value).startswith(message)


def test_assignments_win_over_the_file_and_have_the_settings_type() -> None:
    assignments = ["size=96", "l2=1e-3", "random_baseline=true", "labels = Mass, Edema", "dropout=0"]
    assert apply_overrides({"image_size": 64, "train_seed": 3}, assignments) == {
        "image_size": 96,
        "model_l2": 0.001,
        "model_random_baseline": True,
        "data_labels": "Mass, Edema",
        "model_dropout": 0.0,
        "train_seed": 3,
    }


def test_a_value_may_hold_the_equals_sign() -> None:
    values = apply_overrides({}, ["image_augmentation=rotation_range=5,zoom_range=0.2"])
    assert values == {"image_augmentation": "rotation_range=5,zoom_range=0.2"}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("image_size", "--set must be name=value, got 'image_size'"),
        ("image_size=large", "image_size must be of type int, got 'large'"),
        ("image_size=96.5", "image_size must be of type int, got '96.5'"),
        ("random_baseline=yes", "model_random_baseline must be of type bool, got 'yes'"),
        ("dropout=", "model_dropout must be of type float, got ''"),
    ],
)
def test_a_wrong_assignment_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        apply_overrides({}, [assignment])
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("file", "assignments", "cut_off"),
    [
        ({}, ["backbone=efficientnet_lite0"], "top_conv"),
        ({"model_cut_off": "conv4_block1_1_conv"}, ["backbone=efficientnet_lite0"], "top_conv"),
        ({}, ["backbone=efficientnet_lite0", "cut_off=block7a_expand_conv"], "block7a_expand_conv"),
        ({"model_cut_off": "conv4_block1_1_conv"}, ["backbone=densenet121"], "conv4_block1_1_conv"),
        (
            {"model_backbone": "efficientnet_lite0", "model_cut_off": "block7a_expand_conv"},
            ["backbone=efficientnet_lite0"],
            "block7a_expand_conv",
        ),
        ({"model_backbone": "efficientnet_lite0"}, ["backbone=densenet121"], "conv5_block16_2_conv"),
    ],
)
def test_another_backbone_brings_its_own_cut_off(file: dict[str, Any], assignments: list[str], cut_off: str) -> None:
    assert apply_overrides(file, assignments)["model_cut_off"] == cut_off


def test_another_backbones_candidates_are_all_tried_where_the_file_says_so() -> None:
    assert apply_overrides({"model_cut_off": "auto"}, ["backbone=efficientnet_lite0"])["model_cut_off"] == "auto"


@pytest.mark.parametrize(
    ("file", "cut_off"),
    [
        ({}, "auto"),
        ({"model_cut_off": "top_conv"}, "auto"),
        ({"model_cut_off": "top_conv,block7a_expand_conv"}, "top_conv,block7a_expand_conv"),
    ],
)
def test_a_search_tries_all_candidates_unless_the_file_names_several(file: dict[str, Any], cut_off: str) -> None:
    assert for_search({"image_size": 64, **file}) == {"image_size": 64, "model_cut_off": cut_off}


def test_defaults_fill_in_what_is_not_named() -> None:
    defaults = {name: field.default for name, field in all_settings().items()}
    assert fill_defaults(NEEDED) == defaults | NEEDED


def test_a_file_that_names_a_backbone_alone_gets_that_ones_cut_off() -> None:
    assert fill_defaults(NEEDED | {"model_backbone": "efficientnet_lite0"})["model_cut_off"] == "top_conv"
    with pytest.raises(ValueError, match=r"^model_backbone must be one of .*, got ''$"):
        fill_defaults(NEEDED | {"model_backbone": ""})


def test_a_short_name_of_two_settings_is_refused_with_both() -> None:
    message = "'augmentation' could be image_augmentation or train_augmentation; give the whole name"
    with pytest.raises(ValueError, match=f"^{message}$"):
        full_name("augmentation")


def test_a_setting_under_both_of_its_names_is_refused(tmp_path: Path) -> None:
    """Fails where `load` takes the last of them."""
    path = write(tmp_path, "image_size: 64\nsize: 32\n")
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        load_settings_file(path)
    assert str(error.value) == f"{path} must give each setting once, got image_size a second time as 'size'"


def test_a_name_that_stands_twice_in_a_file_is_refused(tmp_path: Path) -> None:
    """Fails where the YAML loader has PyYAML's own construct_mapping, which takes the last."""
    path = write(tmp_path, "image_size: 64\nimage_size: 32\n")
    with pytest.raises(ValueError, match=f"^{path} must be YAML: 'image_size' is given twice$"):
        load_settings_file(path)
