"""The search space: ranges, choices, conditions, presets and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.config import ExtractFeatures, Preprocess, Search
from radiograft.config.resolution import fill_defaults, load_settings_file, resolve_trial, split_overrides
from radiograft.config.search_parameters import to_assignments
from radiograft.config.search_space import PRESETS, parse_space

BASE = fill_defaults({"data_source": "/images", "publish_registry": "/registry"})


def test_parse_space_range_and_choices_have_full_names_and_types() -> None:
    parameters = parse_space(
        '{"dropout": {"low": 0, "high": 0.5}, "train_batch_size": {"low": 8, "high": 64, "log": true}, '
        '"optimizer": ["adam", "sgd"], "image_augmentation.horizontal_flip": [true, false], '
        '"train_fine_tune_learning_rate": {"low": "1e-5", "high": 1e-3, "log": true}}'
    ).parameters
    dropout, batch = parameters["model_dropout"], parameters["train_batch_size"]
    assert (dropout.low, dropout.high, dropout.is_integer, dropout.step) == (0.0, 0.5, False, None)
    assert (batch.low, batch.high, batch.is_integer, batch.log, batch.step) == (8, 64, True, True, None)
    assert parameters["train_optimizer"].choices == ("adam", "sgd")
    assert parameters["image_augmentation.horizontal_flip"].choices == (True, False)
    assert parameters["train_fine_tune_learning_rate"].low == 1e-5


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model_dropuot": [0.1]}, "no setting 'model_dropuot' to search; did you mean 'model_dropout'"),
        ({"image_augmentation.rotation": [1]}, "did you mean 'image_augmentation.rotation_range'"),
        ({"data_source": ["a", "b"]}, "no setting 'data_source' to search"),
        ({"train_seed": [1, 2]}, "must not have train_seed: it is the same in all trials"),
        ({"model_branches": ["global"]}, "must not have model_branches: it is the same in all trials"),
        ({"model_views": ["frontal"]}, "must not have model_views: it is the same in all trials"),
        ({"dropout": {"low": 0.5, "high": 0.5}}, "model_dropout must have low below high, got 0.5 and 0.5"),
        ({"dropout": {"low": 0.1, "high": 2}}, "model_dropout must be at most 0.95, got 2"),
        ({"dropout": {"low": 0.1, "high": 0.5, "lgo": True}}, "no option 'lgo'; did you mean"),
        ({"dropout": {"low": 0.1}}, "must have both low and high"),
        ({"dropout": 0.1}, "must be a list of choices, or have low and high, got 0.1"),
        ({"dropout": []}, "must have at least one choice"),
        ({"dropout": [0.1, 0.1]}, "must have each choice once"),
        ({"l2": {"low": 0, "high": 0.1, "log": True}}, "must have a positive low and no step if log is true"),
        ({"optimizer": {"low": 1, "high": 2}}, "must have choices, because it is not a number"),
        ({"optimizer": ["adma"]}, "did you mean 'adam'"),
        ({"model_backbone": ["resnet5"]}, "did you mean 'resnet50'"),
        ({"image_size": {"low": 32, "high": 100}}, "image_size must be a multiple of 16, got 100"),
        ({"image_size": {"low": 64, "high": 128, "step": 10}}, "image_size must be a multiple of 16, got 74"),
        ({"train_recipe": ["poster"], "train_recipe.ema": [0.9]}, "either train_recipe or its options"),
        ({"dropout": [0.1], "model_dropout": [0.2]}, "must name each setting once"),
        (
            {"dropout": [0.1], "l2": {"low": 0, "high": 0.1, "when": {"dropout": 0.2}}},
            "depend on choices of model_drop",
        ),
        ({"l2": {"low": 0, "high": 0.1, "when": {"optimizer": "sgd"}}}, "must depend on a setting with choices"),
        (
            {"dropout": {"choices": [0.1], "when": {"l2": 0.1}}, "l2": {"choices": [0.1], "when": {"dropout": 0.1}}},
            "conditions that depend on each other",
        ),
        ({"preset": "quik"}, "did you mean 'quick'"),
        ({}, "must have at least one parameter"),
    ],
    ids=str,
)
def test_parse_space_invalid_raises(space: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match="search_space") as raised:
        parse_space(json.dumps(space))
    assert message in str(raised.value)


def test_parse_space_preset_can_be_changed_and_reduced() -> None:
    text = '{"preset": "quick", "dropout": [0.2], "model_l2": null, "model_dense_units": null}'
    parameters = parse_space(text).parameters
    assert set(parameters) == {"model_dropout", "train_feature_learning_rate", "train_optimizer"}
    assert parameters["model_dropout"].choices == (0.2,)


@pytest.mark.parametrize("preset", PRESETS)
def test_parse_space_every_preset_is_valid_and_contains_no_unknown_name(preset: str) -> None:
    space = Search(search_space=preset).space()
    assert space.parameters
    assert all(name.partition(".")[0] in BASE for name in space.parameters)


def test_parse_space_cut_offs_lists_those_of_the_backbone() -> None:
    (parameter,) = parse_space("cut_offs", "efficientnet_lite0").parameters.values()
    assert parameter.choices[-1] == "top_conv"
    assert "conv5_block16_2_conv" not in parameter.choices


def test_space_of_condition_omits_inactive_parameters() -> None:
    space = parse_space("standard")
    values = space.of(BASE)
    assert values is not None
    assert values["train_recipe.schedule"] == "constant"
    assert "train_recipe.warm_up" not in values
    with_cosine = space.of({**BASE, "train_recipe": "schedule=cosine,warm_up=0.1"})
    assert with_cosine is not None
    assert with_cosine["train_recipe.warm_up"] == 0.1
    assert space.of({**BASE, "train_optimizer": "rmsprop"}) is None  # not one of the choices


def test_space_grid_with_condition_has_each_combination_once() -> None:
    text = (
        '{"train_recipe.schedule": ["constant", "cosine"], '
        '"train_recipe.warm_up": {"choices": [0.1, 0.2], "when": {"train_recipe.schedule": "cosine"}}}'
    )
    assert parse_space(text).grid() == [
        {"train_recipe.schedule": "constant"},
        {"train_recipe.schedule": "cosine", "train_recipe.warm_up": 0.1},
        {"train_recipe.schedule": "cosine", "train_recipe.warm_up": 0.2},
    ]
    assert parse_space("quick").grid() is None


def test_resolve_trial_merges_options_and_sets_cut_off_of_backbone() -> None:
    settings = resolve_trial(
        {**BASE, "train_recipe": "schedule=cosine,ema=0.9"},
        {
            "train_recipe.warm_up": 0.25,
            "image_augmentation.horizontal_flip": True,
            "image_augmentation.rotation_range": 0.0,
            "model_backbone": "resnet50",
            "model_random_baseline": False,
        },
    )
    assert settings["train_recipe"] == "schedule=cosine,warm_up=0.25,ema=0.9"
    assert settings["image_augmentation"] == (
        "width_shift_range=0.1,height_shift_range=0.1,zoom_range=0.1,horizontal_flip=true"
    )
    assert settings["model_cut_off"] == "conv5_block3_3_conv"
    changed = {name for name in settings if settings[name] != BASE[name]}
    assert changed == {"train_recipe", "image_augmentation", "model_backbone", "model_cut_off"}


def test_resolve_trial_number_and_strength_of_rand_augment_keep_its_ranges() -> None:
    parameters = parse_space("rand_augment").parameters
    assert (parameters["image_augmentation.operations"].low, parameters["image_augmentation.operations"].high) == (1, 5)
    trial = {"image_augmentation.operations": 3, "image_augmentation.strength": 0.25}
    settings = resolve_trial({**BASE, "image_augmentation": "rand_augment"}, trial)
    augmentation = Preprocess.of(settings).augmentation()
    assert (augmentation.operations, augmentation.strength) == (3, 0.25)
    assert (augmentation.rotation_range, augmentation.contrast_range) == (30.0, "0.5:1.5")


@given(dropout=st.floats(0, 0.9), rate=st.floats(1e-8, 1.0), decay=st.floats(0.1, 1.0))
def test_resolve_trial_keeps_numbers_exactly(dropout: float, rate: float, decay: float) -> None:
    values = {"model_dropout": dropout, "train_fine_tune_learning_rate": rate, "train_recipe.layer_decay": decay}
    settings = resolve_trial(BASE, values)
    assert (settings["model_dropout"], settings["train_fine_tune_learning_rate"]) == (dropout, rate)
    assert ExtractFeatures.of(settings).recipe().layer_decay == decay


def test_to_assignments_all_options_default_gives_empty_preset() -> None:
    assert to_assignments({"train_recipe": "schedule=cosine"}, {"train_recipe.schedule": "constant"}) == {
        "train_recipe": "poster"
    }


def test_settings_file_section_search_sets_the_space(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("search:\n  dropout: {low: 0.1, high: 0.5}\n  optimizer: [adam, sgd]\n")
    loaded = load_settings_file(str(tmp_path / "s.yaml"))
    space = Search.of(loaded).space()
    assert (space.parameters["model_dropout"].low, space.parameters["train_optimizer"].choices) == (
        0.1,
        ("adam", "sgd"),
    )
    (tmp_path / "t.yaml").write_text("search: augmentation\n")
    assert load_settings_file(str(tmp_path / "t.yaml")) == {"search_space": "augmentation"}


def test_split_overrides_space_as_json_stays_one_value() -> None:
    space = '{"train_recipe": ["schedule=cosine,ema=0.9", "poster"], "dropout": [0.1, 0.2]}'
    assert split_overrides(f"search_space={space}, seed=3") == [f"search_space={space}", "seed=3"]
