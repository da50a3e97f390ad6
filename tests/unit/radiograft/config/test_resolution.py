"""The run form: its fields resolve to the settings that they were filled from, and the first task hands them out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft import storage
from radiograft.config import AUTO_CUT_OFF, FineTune, Preprocess
from radiograft.config.base import Scalar
from radiograft.config.resolution import FORM_SETTINGS, fill_defaults, fill_form, resolve_form, split_overrides
from radiograft.stages.ingest.resolve import OUTPUTS, resolve, write_stage_settings

EMPTY = dict.fromkeys(("settings", "overrides", *FORM_SETTINGS), "")
NEEDED = EMPTY | {"data_source": "gs://bucket/nih", "publish_registry": "gs://bucket/registry"}


def test_resolve_form_empty_fields_take_defaults() -> None:
    settings = resolve_form(NEEDED, "transfer_learning")
    assert settings == fill_defaults({"data_source": "gs://bucket/nih", "publish_registry": "gs://bucket/registry"})
    assert (settings["model_backbone"], settings["image_size"]) == ("densenet121", 224)


def test_resolve_form_field_overrides_settings_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("image_size: 64\nseed: 3\nlabels: Mass,Nodule\n")
    form = NEEDED | {"settings": str(tmp_path / "mine.yaml"), "image_size": "96"}
    settings = resolve_form(form, "transfer_learning")
    assert (settings["image_size"], settings["train_seed"], settings["data_labels"]) == (96, 3, "Mass,Nodule")


def test_resolve_form_settings_file_in_bucket(embedded: str) -> None:
    storage.write_bytes(f"{embedded}/mine.yaml", b"image_size: 64")
    assert resolve_form(NEEDED | {"settings": f"{embedded}/mine.yaml"}, "transfer_learning")["image_size"] == 64


def test_resolve_form_backbone_in_overrides_keeps_cut_off_field() -> None:
    form = NEEDED | {"overrides": "backbone=efficientnet_lite0", "model_cut_off": "block7a_expand_conv"}
    assert resolve_form(form, "transfer_learning")["model_cut_off"] == "block7a_expand_conv"


def test_resolve_form_backbone_sets_its_cut_off() -> None:
    settings = resolve_form(NEEDED | {"model_backbone": "efficientnet_lite0"}, "transfer_learning")
    assert settings["model_cut_off"] == "top_conv"


@pytest.mark.parametrize(
    ("cut_offs", "expected"), [("", AUTO_CUT_OFF), ("pool4_conv,pool3_conv", "pool4_conv,pool3_conv")]
)
def test_resolve_form_search_tries_all_cut_offs_unless_given(cut_offs: str, expected: str) -> None:
    assert resolve_form(NEEDED | {"model_cut_off": cut_offs}, "cutoff_search")["model_cut_off"] == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"image_size": "64", "overrides": "size=96"},
            "image_size must be given once, got its field and an entry in overrides: clear one of them",
        ),
        ({"overrides": "optimiser=adam"}, "unknown setting 'optimiser'; did you mean 'optimizer'"),
        ({"overrides": "adam"}, "an override must be name=value, got 'adam'"),
        ({"image_size": "large"}, "image_size must be of type int, got 'large'"),
        ({"data_source": ""}, "data_source must be given"),
    ],
)
def test_resolve_form_invalid_field_raises(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_form(NEEDED | fields, "transfer_learning")


def test_resolve_form_unknown_preset_raises_with_presets() -> None:
    with pytest.raises(
        FileNotFoundError, match="settings must be a file or one of blood_cells, chestxray14, chexnet, "
    ):
        resolve_form(NEEDED | {"settings": "chestxray"}, "transfer_learning")


@pytest.mark.parametrize(
    ("text", "assignments"),
    [
        ("", []),
        ("seed=3", ["seed=3"]),
        ("seed=3, size=64", ["seed=3", "size=64"]),
        ("seed=3\n\nsize=64\n", ["seed=3", "size=64"]),
        ("labels=Mass,Nodule,seed=3", ["labels=Mass,Nodule", "seed=3"]),
        ("labels='Mass, large',seed=3", ["labels='Mass, large'", "seed=3"]),
        (
            "image_augmentation=zoom_range=0.1,rotation_range=5,seed=3",
            ["image_augmentation=zoom_range=0.1,rotation_range=5", "seed=3"],
        ),
        ("data_table=label=class,image=file,size=64", ["data_table=label=class,image=file", "size=64"]),
        ("min_auroc=Mass=0.7,Nodule=0.6,train_seed=3", ["min_auroc=Mass=0.7,Nodule=0.6", "train_seed=3"]),
        ("gate_external=covid=0.7,nih=0.6,seed=3", ["gate_external=covid=0.7,nih=0.6", "seed=3"]),
        ("size=64,sed=3", ["size=64", "sed=3"]),  # refused later, with the setting that was meant
    ],
)
def test_split_overrides_separates_at_settings(text: str, assignments: list[str]) -> None:
    assert split_overrides(text) == assignments


VALUES = st.fixed_dictionaries(
    {
        "data_source": st.sampled_from(["gs://bucket/nih", "/data/a,b=c"]),
        "publish_registry": st.just("gs://bucket/registry"),
        "data_labels": st.sampled_from(["Pneumonia", "Mass,Nodule", "all"]),
        "model_random_baseline": st.booleans(),
        "train_seed": st.integers(0, 2**32 - 1),
        "train_fine_tune_learning_rate": st.floats(1e-8, 1.0),
        "image_augmentation": st.sampled_from(["poster", "none", "rotation_range=10,zoom_range=0.1"]),
        "data_policy": st.sampled_from(["standard", "near_duplicate=drop,blank=fail"]),
        "gate_min_auroc": st.sampled_from(["0.5", "0.75"]),
        "model_backbone": st.sampled_from(["densenet121", "efficientnet_lite0"]),
    }
)


@given(VALUES)
def test_fill_form_resolves_to_same_settings(values: dict[str, Scalar]) -> None:
    settings = fill_defaults(values)
    form = fill_form(settings)
    assert form.keys() == EMPTY.keys()
    assert resolve_form(form, "transfer_learning") == settings


def test_resolve_writes_page_with_changed_settings_in_bold(tmp_path: Path) -> None:
    settings = resolve(NEEDED | {"image_size": "96"}, False, tmp_path / "page.md")
    lines = (tmp_path / "page.md").read_text().splitlines()
    assert "| **`image_size`** | `96` |" in lines
    assert "| `train_optimizer` | `adam` |" in lines
    assert len([line for line in lines if line.startswith(("| `", "| **`"))]) == len(settings)


def test_resolve_invalid_setting_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image_size"):
        resolve(NEEDED | {"image_size": "95"}, False, tmp_path / "page.md")
    assert list(tmp_path.iterdir()) == []


def test_write_stage_settings_gives_each_stage_its_own(tmp_path: Path) -> None:
    files = {name: str(tmp_path / "outputs" / name) for name in OUTPUTS}
    settings = fill_defaults({"data_source": "/data", "publish_registry": "gs://bucket/registry", "image_size": 96})
    write_stage_settings(settings, {**files, "other": "x"})
    assert (tmp_path / "outputs" / "registry").read_text() == "gs://bucket/registry"
    text = (tmp_path / "outputs" / "preprocess_settings").read_text()
    assert "train_seed" not in json.loads(text)
    assert Preprocess.from_json(text).image_size == 96
    assert json.loads((tmp_path / "outputs" / "search_settings").read_text()) == settings
    other = dict(settings, train_batch_size=8)
    write_stage_settings(other, files)
    assert (tmp_path / "outputs" / "preprocess_settings").read_text() == text  # KFP takes the shards from its cache


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("", ("top_conv", 32)),
        ("model_cut_off=block7a_expand_conv", ("block7a_expand_conv", 32)),
        ('model_backbone=vgg16,model_cut_off="a,b",train_batch_size=8', ("a,b", 8)),  # another stage has the backbone
    ],
)
def test_with_overrides_replaces_settings_of_the_stage(overrides: str, expected: tuple[str, int]) -> None:
    settings = FineTune(model_cut_off="top_conv").with_overrides(overrides)
    assert (settings.model_cut_off, settings.train_batch_size) == expected


def test_with_overrides_invalid_value_raises() -> None:
    with pytest.raises(ValueError, match=r"^train_batch_size must be at least 1 images, got 0$"):
        FineTune().with_overrides("train_batch_size=0")
