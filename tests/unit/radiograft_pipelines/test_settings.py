"""Settings files, presets, overrides, and their validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from radiograft.config import FineTune, all_settings
from radiograft.config.augmentation import AUGMENTATIONS, Augmentation
from radiograft.config.resolution import (
    PRESETS_FOLDER,
    apply_overrides,
    combine,
    full_name,
    load_settings_file,
)
from radiograft.config.training import Recipe
from radiograft_pipelines.settings import fill_defaults

PRESETS = sorted(path.stem for path in PRESETS_FOLDER.glob("*.yaml"))
NEEDED: dict[str, Any] = {"data_source": "/data", "publish_registry": "/registry"}


def write(folder: Path, text: str) -> str:
    """Writes a settings file and returns its path."""
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_presets_include_demo_and_poster() -> None:
    assert {"demo", "chestxray14", "ham10000", "pneumoniamnist"} <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_valid(name: str) -> None:
    assert set(fill_defaults({"data_source": "/data"} | load_settings_file(name))) == set(all_settings())


def test_chestxray14_preset_follows_poster() -> None:
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


CHEXNET = {
    "data_format": "chestxray14",
    "image_augmentation": "chexnet",
    "image_size": 224,
    "model_backbone": "densenet121",
    "model_cut_off": "conv1_conv",
    "model_dense_units": 0,
    "model_dropout": 0.0,
    "model_weights": "imagenet",
    "train_augmentation": "online",
    "train_batch_norm": "train",
    "train_batch_size": 16,
    "train_fine_tune_learning_rate": 0.001,
    "train_monitor": "loss",
    "train_optimizer": "adam",
}


@pytest.mark.parametrize(
    ("name", "labels", "recipe"),
    [
        ("chexnet", "all", Recipe(schedule="plateau", loss_weights="none")),
        ("chexnet-pneumonia", "Pneumonia", Recipe(schedule="plateau", loss_weights="balanced")),
    ],
)
def test_chexnet_preset_follows_paper(name: str, labels: str, recipe: Recipe) -> None:
    values = fill_defaults({"data_source": "/data/nih"} | load_settings_file(name))
    assert CHEXNET.items() <= values.items()
    assert (values["data_labels"], values["publish_model_name"]) == (labels, name)
    assert FineTune.of(values).recipe() == recipe
    assert Augmentation.parse("image_augmentation", str(values["image_augmentation"]), AUGMENTATIONS) == Augmentation(
        horizontal_flip=True
    )


def test_demo_preset_needs_no_network() -> None:
    values = fill_defaults(load_settings_file("demo"))
    assert (values["data_format"], values["model_backbone"]) == ("phantom", "efficientnet_lite0")
    assert values["publish_model_name"] == "phantom-radiograph"  # not compared with models of real radiographs
    assert values["data_source"] == "gs://radiograft-embedded/phantom"
    assert values["publish_registry"] == "gs://radiograft-embedded/registry"


def test_load_settings_file_expands_short_names(tmp_path: Path) -> None:
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
def test_full_name_adds_prefix(short: str, full: str) -> None:
    assert full_name(short) == full
    assert full_name(full) == full


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bakbone", "unknown setting 'bakbone'; did you mean 'backbone' or 'backbones' or 'model_backbone'?"),
        (
            "data_lables",
            "unknown setting 'data_lables'; did you mean 'data_labels' or 'data_table' or 'data_task'?",
        ),
        ("qqqqqq", "unknown setting 'qqqqqq'"),
    ],
)
def test_unknown_setting_raises_with_similar_names(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        load_settings_file(write(tmp_path, f"{name}: 1"))
    assert str(error.value) == message
    with pytest.raises(ValueError) as error:  # noqa: PT011
        apply_overrides({}, [f"{name}=1"])
    assert str(error.value) == message


def test_load_settings_file_missing_raises_with_presets() -> None:
    with pytest.raises(FileNotFoundError) as error:
        load_settings_file("chestxray")
    assert str(error.value) == (
        f"settings must be a file or one of {', '.join(PRESETS)}, got 'chestxray'; "
        "did you mean 'chestxray14' or 'chexnet'?"
    )


@pytest.mark.parametrize(("text", "kind"), [("- image_size", "list"), ("image_size", "str"), ("", "NoneType")])
def test_load_settings_file_not_mapping_raises(tmp_path: Path, text: str, kind: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        load_settings_file(path)
    assert str(error.value) == f"{path} must be a mapping of `name: value`, got {kind}"


def test_load_settings_file_not_yaml_raises(tmp_path: Path) -> None:
    path = write(tmp_path, "image_size: [224")
    with pytest.raises(ValueError, match=f"^{path} must be YAML: "):
        load_settings_file(path)


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("image_size: '224'", TypeError, "image_size must be of type int, got '224' (str)"),
        ("image_size: 224.5", TypeError, "image_size must be of type int, got 224.5 (float)"),
        ("image_size:", TypeError, "image_size must be of type int, got None (NoneType)"),
        ("model_backbone: [a, b]", TypeError, "model_backbone must be of type str, got ['a', 'b'] (list)"),
        ("source: 7", TypeError, "data_source must be of type str, got 7 (int)"),
        ("source: ''", ValueError, "data_source must be given "),
        ("dropout: high", ValueError, "model_dropout must be of type float, got 'high'"),
        ("image_size: 250", ValueError, "image_size must be a multiple of 16, got 250"),
        ("image_size: 48", ValueError, "image_size must be a multiple of 32 and at least 32 for densenet121, got 48"),
        ("optimizer: adamm", ValueError, "train_optimizer must be one of adam, adamw, rmsprop, sgd, got 'adamm'"),
    ],
)
def test_fill_defaults_invalid_value_raises(tmp_path: Path, line: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as error:
        fill_defaults(NEEDED | load_settings_file(write(tmp_path, line)))
    assert str(error.value).startswith(message)


def test_apply_overrides_replaces_and_converts_values() -> None:
    assignments = ["size=96", "l2=1e-3", "random_baseline=true", "labels = Mass, Edema", "dropout=0"]
    assert apply_overrides({"image_size": 64, "train_seed": 3}, assignments) == {
        "image_size": 96,
        "model_l2": 0.001,
        "model_random_baseline": True,
        "data_labels": "Mass, Edema",
        "model_dropout": 0.0,
        "train_seed": 3,
    }


def test_apply_overrides_value_may_contain_equals_sign() -> None:
    values = apply_overrides({}, ["image_augmentation=rotation_range=5,zoom_range=0.2"])
    assert values == {"image_augmentation": "rotation_range=5,zoom_range=0.2"}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("image_size", "an override must be name=value, got 'image_size'"),
        ("image_size=large", "image_size must be of type int, got 'large'"),
        ("image_size=96.5", "image_size must be of type int, got '96.5'"),
        ("random_baseline=yes", "model_random_baseline must be of type bool, got 'yes'"),
        ("dropout=", "model_dropout must be of type float, got ''"),
    ],
)
def test_apply_overrides_invalid_assignment_raises(assignment: str, message: str) -> None:
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
def test_apply_overrides_new_backbone_sets_its_cut_off(
    file: dict[str, Any], assignments: list[str], cut_off: str
) -> None:
    assert apply_overrides(file, assignments)["model_cut_off"] == cut_off


def test_apply_overrides_new_backbone_keeps_auto_cut_off() -> None:
    assert apply_overrides({"model_cut_off": "auto"}, ["backbone=efficientnet_lite0"])["model_cut_off"] == "auto"


@pytest.mark.parametrize(
    ("file", "cut_off"),
    [
        ({}, "auto"),
        ({"model_cut_off": "top_conv"}, "auto"),
        ({"model_cut_off": "top_conv,block7a_expand_conv"}, "top_conv,block7a_expand_conv"),
    ],
)
def test_combine_cutoff_search_tries_all_candidates_unless_several_given(file: dict[str, Any], cut_off: str) -> None:
    assert combine("cutoff_search", {"image_size": 64, **file}, []) == {"image_size": 64, "model_cut_off": cut_off}


def test_combine_backbone_comparison_takes_one_of_the_compared_backbones() -> None:
    compared = ["backbones=resnet50,vgg16"]
    first = combine("backbone_comparison", {"model_backbone": "densenet121", "model_cut_off": "x"}, compared)
    assert (first["model_backbone"], first["model_cut_off"]) == ("resnet50", "conv5_block3_3_conv")
    own = {"model_backbone": "vgg16", "model_cut_off": "block5_conv1"}
    assert combine("backbone_comparison", own, compared) == own | {"compare_backbones": "resnet50,vgg16"}


@pytest.mark.parametrize(
    ("pipeline", "backbones", "got"),
    [
        ("backbone_comparison", "", "none for backbone_comparison"),
        ("transfer_learning", "resnet50,vgg16", "resnet50, vgg16 for transfer_learning"),
    ],
)
def test_combine_backbones_for_other_pipeline_raises(pipeline: str, backbones: str, got: str) -> None:
    with pytest.raises(ValueError, match=rf"^compare_backbones must name backbones .*, got {got}$"):
        combine(pipeline, {"compare_backbones": backbones}, [])


def test_combine_super_resolution_of_enlarged_images_raises() -> None:
    with pytest.raises(ValueError, match=r"^image_super_resolution must be empty for .*, got '/registry/g/1'$"):
        combine("super_resolution", {"image_super_resolution": "/registry/g/1"}, [])


def test_combine_super_resolution_has_a_model_name_of_its_own() -> None:
    assert combine("super_resolution", {}, []) == {"publish_model_name": "super-resolution"}
    assert combine("super_resolution", {"publish_model_name": "mine"}, []) == {"publish_model_name": "mine"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"compare_backbones": "vgg16"}, "compare_backbones must name at least two backbones, each once, got 'vgg16'"),
        ({"compare_backbones": "vgg16,vgg16"}, "compare_backbones must name at least two .*, got 'vgg16,vgg16'"),
        ({"compare_backbones": "vgg16,vgg17"}, "model_backbone must be one of .*, got 'vgg17'"),
        (
            {"compare_backbones": "vgg16,resnet50", "model_weights": "/vgg.h5"},
            "model_weights must be `imagenet` or `none` if .*, got '/vgg.h5'",
        ),
        (
            {"compare_backbones": "vgg16,inception_v3", "image_size": 64},
            "image_size must be a multiple of 16 and at least 80 for inception_v3, got 64",
        ),
    ],
)
def test_fill_defaults_invalid_comparison_raises(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        fill_defaults(NEEDED | {"model_backbone": "vgg16"} | values)


def test_fill_defaults_adds_missing_settings() -> None:
    defaults = {name: field.default for name, field in all_settings().items()}
    assert fill_defaults(NEEDED) == defaults | NEEDED


def test_fill_defaults_cut_off_follows_backbone() -> None:
    assert fill_defaults(NEEDED | {"model_backbone": "efficientnet_lite0"})["model_cut_off"] == "top_conv"
    with pytest.raises(ValueError, match=r"^model_backbone must be one of .*, got ''$"):
        fill_defaults(NEEDED | {"model_backbone": ""})


def test_full_name_ambiguous_raises() -> None:
    message = "setting 'augmentation' is ambiguous, use image_augmentation or train_augmentation"
    with pytest.raises(ValueError, match=f"^{message}$"):
        full_name("augmentation")


def test_load_settings_file_short_and_full_name_raises(tmp_path: Path) -> None:
    """Fails if the last of the two wins."""
    path = write(tmp_path, "image_size: 64\nsize: 32\n")
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        load_settings_file(path)
    assert str(error.value) == f"{path} must set image_size only once, got it again as 'size'"


def test_load_settings_file_duplicate_name_raises(tmp_path: Path) -> None:
    """Fails with PyYAML's own `construct_mapping`, which keeps the last of two equal keys."""
    path = write(tmp_path, "image_size: 64\nimage_size: 32\n")
    with pytest.raises(ValueError, match=f"^{path} must be YAML: 'image_size' is given twice$"):
        load_settings_file(path)


NEEDED = {"data_source": "/images", "publish_registry": "/registry"}


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["search_space=standard", "model_cut_off=auto"], "model_cut_off must be one layer in a search, got 'auto'"),
        (
            ["search_space=standard", "data_task=regression", "data_format=table"],
            "search_space must not have train_recipe.label_smoothing with data_task=regression",
        ),
        (["search_space=cut_offs", "search_strategy=feature_extraction"], "must not search model_cut_off"),
    ],
)
def test_combine_hyperparameter_search_of_unsupported_settings_raises(assignments: list[str], message: str) -> None:
    """Ingest rejects them, before images are read."""
    with pytest.raises(ValueError, match=message):
        combine("hyperparameter_search", NEEDED, assignments)


def test_combine_hyperparameter_search_keeps_settings() -> None:
    combined = combine("hyperparameter_search", NEEDED, ["search_space=quick", "search_workers=3"])
    assert combined == {**NEEDED, "search_space": "quick", "search_workers": 3}
