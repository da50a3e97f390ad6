"""Settings take what the run form can hand over, and refuse the rest with constraint, value and nearest name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.config import (
    STAGES,
    Evaluate,
    ExtractFeatures,
    FineTune,
    Ingest,
    Preprocess,
    Publish,
    Training,
    all_settings,
    validate_settings,
)
from radiograft.config.base import Settings, did_you_mean, read_settings, record_settings
from radiograft.config.gate import OperatingPoint

REQUIRED = {"data_source": "/data", "publish_registry": "/registry"}
BOUNDED = [
    (stage, field) for stage in STAGES for field in dataclasses.fields(stage) if field.metadata["low"] is not None
]


def test_defaults_are_the_posters() -> None:
    features = ExtractFeatures()
    assert (features.model_backbone, features.model_weights) == ("densenet121", "imagenet")
    assert features.model_cut_off == FineTune().model_cut_off == "conv5_block16_2_conv"
    assert Preprocess().image_size == 224
    assert Ingest(data_source="/data").findings() == ("Pneumonia",)


REFUSED_VALUES: list[tuple[type[Settings], dict[str, Any], str]] = [
    (Preprocess, {"image_size": 250}, "image_size must be a multiple of 32, got 250"),
    (Preprocess, {"image_size": 16}, "image_size must be at least 32 pixels, got 16"),
    (Preprocess, {"image_size": 2048}, "image_size must be at most 1024 pixels, got 2048"),
    (Training, {"train_seed": -1}, "train_seed must be at least 0, got -1"),
    (
        Ingest,
        {"data_validation_fraction": 0.6},
        "data_validation_fraction must be at most 0.5 of patients, got 0.6",
    ),
    (
        FineTune,
        {"train_fine_tune_learning_rate": float("nan")},
        "train_fine_tune_learning_rate must be a finite number, got nan",
    ),
    (ExtractFeatures, {"model_l2": float("inf")}, "model_l2 must be a finite number, got inf"),
    (
        ExtractFeatures,
        {"model_backbone": "densnet121"},
        "model_backbone must be one of densenet121, efficientnet_lite0, got 'densnet121'; did you mean 'densenet121'?",
    ),
    (Training, {"train_optimizer": "qqq"}, "train_optimizer must be one of adam, adamw, rmsprop, sgd, got 'qqq'"),
    (
        Ingest,
        {"data_source": ""},
        "data_source must be given (Folder, gs:// or s3:// prefix of the dataset; for medmnist and table, the file itself.), got ''",
    ),
    (
        Publish,
        {"publish_registry": ""},
        "publish_registry must be given (Folder, gs:// or s3:// prefix of the model registry.), got ''",
    ),
    *(
        (Evaluate, {"evaluate_operating_point": text}, message)
        for text, message in {
            "yuoden": "evaluate_operating_point must be one of youden or name=value,..., got 'yuoden'; "
            "did you mean 'youden'?",
            "specificity=0.9": "evaluate_operating_point has no 'specificity'; did you mean 'sensitivity'?",
            "sensitivity=90": "sensitivity must be at most 1, got 90.0",
        }.items()
    ),
    *(
        (Ingest, {"data_labels": text}, f"data_labels must name each finding once, got '{text}'")
        for text in ("", "Mass,,Edema", "Mass, Mass")
    ),
    *(
        (
            Publish,
            {"publish_model_name": name},
            f"publish_model_name must be 1 to 63 characters from A-Z a-z 0-9 _ - and start with a letter, got '{name}'",
        )
        for name in ("", "../other", "7th", "a" * 64)
    ),
]


NO_PLACE = "must be a path, gs://BUCKET/... or s3://BUCKET/..., got"
NOT_ONE_LINE = "must be one line without leading or trailing whitespace, got"
NO_WEIGHTS = "model_weights must be `imagenet`, `none` or a file whose name ends in .h5, .hdf5, .keras, got"
REFUSED_LATER: list[tuple[dict[str, Any], str]] = [
    ({"train_seed": 2**32}, "train_seed must be at most 4294967295, got 4294967296"),
    ({"model_l2": 10**400}, f"model_l2 must be at most 1, got {10**400}"),
    ({"data_table": "separator="}, "data_table must give separator once, with a value, got 'separator='"),
    ({"data_table": "image=a,image=b"}, "data_table must give image once, with a value, got 'image=a,image=b'"),
    (
        {"data_policy": "blank=fail, blank=drop"},
        "data_policy must give blank once, with a value, got 'blank=fail, blank=drop'",
    ),
    *(
        ({name: place}, f"{name} {NO_PLACE} '{place}'")
        for name in ("data_source", "publish_registry", "model_weights")
        for place in ("gs://", "s3://", "gs:///models/w.h5", "hdfs://models/w.h5", "GS://models/w.h5", "gs:/m/w.h5")
    ),
    ({"publish_registry": " gs://models"}, f"publish_registry {NOT_ONE_LINE} ' gs://models'"),
    ({"publish_registry": "gs://models\n"}, f"publish_registry {NOT_ONE_LINE} 'gs://models\\n'"),
    ({"publish_registry": "/mod\0els"}, f"publish_registry {NOT_ONE_LINE} '/mod\\x00els'"),
    ({"data_source": "   "}, f"data_source {NOT_ONE_LINE} '   '"),
    *(
        ({"model_weights_md5": text}, f"model_weights_md5 must be 32 hexadecimal digits, got '{text}'")
        for text in ("abc", "0" * 31, "0" * 33, "g" * 32, "\u0663" * 32)
    ),
    *(({"model_weights": name}, f"{NO_WEIGHTS} '{name}'") for name in ("", "ImageNet", "gs://models/w")),
    *(
        ({"model_cut_off": text}, f"model_cut_off must name each layer once, got '{text}'")
        for text in ("", "top_conv,", "top_conv, top_conv")
    ),
    (
        {"model_backbone": "efficientnet_lite0", "model_cut_off": "conv5_block16_2_conv"},
        (
            "model_cut_off must be a layer of efficientnet_lite0, such as top_conv, "
            "got 'conv5_block16_2_conv' of densenet121"
        ),
    ),
    ({"model_feature_layer": ""}, "model_feature_layer must be `auto`, `last` or a block's last layer, got ''"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED_LATER)
def test_what_a_later_stage_cannot_take_the_form_refuses(values: dict[str, Any], message: str) -> None:
    """Fails where the form takes it: hours of training end with it, or the model lies in a folder of a pod."""
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        validate_settings(REQUIRED | values)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "values",
    [
        {"train_seed": 2**32 - 1},
        {"data_source": "gs://bucket", "publish_registry": "s3://bucket/a folder", "model_weights": "gs://b/w.h5"},
        {"data_source": "/data/R\u00f6ntgen\u00a0Aufnahmen", "model_weights": "/w.keras"},
        {"model_weights": "none", "model_weights_md5": "30ee3e1110167f948a6b9946EEDEB738"},
        {"model_backbone": "efficientnet_lite0", "model_cut_off": "block7a_expand_conv, top_conv"},
    ],
)
def test_what_the_stages_can_take_the_form_takes(values: dict[str, Any]) -> None:
    """Fails where a constraint refuses more than it must."""
    assert validate_settings(REQUIRED | values).items() >= values.items()


@pytest.mark.parametrize(("stage", "values", "message"), REFUSED_VALUES)
def test_a_refused_value_is_named_with_its_constraint(
    stage: type[Settings], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        stage.of(REQUIRED | values)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("stage", "values", "message"),
    [
        (Training, {"train_batch_size": 1.5}, "train_batch_size must be of type int, got 1.5 (float)"),
        (Training, {"train_batch_size": "32"}, "train_batch_size must be of type int, got '32' (str)"),
        (Training, {"train_seed": True}, "train_seed must be of type int, got True (bool)"),
        (Training, {"train_patience": float("nan")}, "train_patience must be of type int, got nan (float)"),
        (ExtractFeatures, {"model_random_baseline": 1}, "model_random_baseline must be of type bool, got 1 (int)"),
        (ExtractFeatures, {"model_dropout": True}, "model_dropout must be of type float, got True (bool)"),
        (ExtractFeatures, {"model_weights": None}, "model_weights must be of type str, got None (NoneType)"),
        (Ingest, {"data_labels": ["Mass"]}, "data_labels must be of type str, got ['Mass'] (list)"),
    ],
)
def test_a_value_of_another_type_is_refused(stage: type[Settings], values: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as error:
        stage.of(REQUIRED | values)
    assert str(error.value) == message


def test_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(TypeError, match="data_lables"):
        Ingest(data_source="/data", data_lables="Mass")  # type: ignore[call-arg]


@given(number=st.integers(1, 4096))
def test_an_int_that_kfp_hands_over_as_a_float_is_an_int_again(number: int) -> None:
    batch_size = Training(train_batch_size=float(number)).train_batch_size  # type: ignore[arg-type]
    assert (batch_size, type(batch_size)) == (number, int)


def test_a_whole_number_is_taken_for_a_fraction() -> None:
    dropout = ExtractFeatures(model_dropout=0).model_dropout
    assert (dropout, type(dropout)) == (0.0, float)


@pytest.mark.parametrize(("stage", "field"), BOUNDED, ids=[f"{s.__name__}.{f.name}" for s, f in BOUNDED])
def test_bounds_are_inclusive_and_hold(stage: type[Settings], field: dataclasses.Field[Any]) -> None:
    step = 1 if isinstance(field.default, int) else 1e-9
    for bound, beyond in ((field.metadata["low"], -step), (field.metadata["high"], step)):
        if bound is None:
            continue
        assert getattr(stage.of(REQUIRED | {field.name: bound}), field.name) == bound
        with pytest.raises(ValueError, match=f"^{field.name} must be at (least|most) "):
            stage.of(REQUIRED | {field.name: bound + beyond})


def test_of_picks_the_stages_own_settings_from_a_components_arguments() -> None:
    arguments = {"train_seed": 7.0, "train_batch_size": 16.0, "image_size": 64, "catalog": object()}
    assert Training.of(arguments) == Training(train_seed=7, train_batch_size=16)


def test_settings_cannot_be_changed_after_their_check() -> None:
    settings = Preprocess()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.image_size = 250  # type: ignore[misc]


def test_the_run_form_is_alphabetical_scalar_grouped_by_prefix_and_explains_itself() -> None:
    form = all_settings()
    assert list(form) == sorted(form)
    prefixes = {name.partition("_")[0] for name in form}
    assert prefixes == {"data", "image", "model", "preprocess", "train", "evaluate", "publish"}
    assert all(type(field.default) in (bool, int, float, str) for field in form.values())
    assert all(len(field.metadata["help"]) > 10 for field in form.values())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("imagesize", "; did you mean 'image_size'?"),
        ("data_lables", "; did you mean 'data_labels' or 'data_source'?"),
        ("zzz", ""),
    ],
)
def test_nearest_names_what_was_probably_meant(name: str, text: str) -> None:
    assert did_you_mean(name, ["data_labels", "data_source", "image_size"]) == text


def test_findings_keep_the_order_asked_for_and_all_means_fourteen() -> None:
    assert Ingest(data_source="/data", data_labels="Mass, Edema").findings() == ("Mass", "Edema")
    fourteen = Ingest(data_source="/data", data_labels="all").findings()
    assert len(fourteen) == 14
    assert {"Pleural_Thickening", "Hernia", "Pneumonia"} < set(fourteen)


def test_settings_of_all_stages_travel_with_the_artifacts(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("catalog", "shards", "features")]
    for folder in folders:
        folder.mkdir()
    record_settings(folders[0], Evaluate(publish_registry="/elsewhere", train_seed=1))
    record_settings(folders[1], Preprocess(image_size=64), folders[0])
    record_settings(folders[2], Publish(publish_registry="/registry"), folders[0], folders[1])
    expected = {
        "data_policy": "standard",
        "evaluate_bootstrap_samples": 1000,
        "evaluate_min_patients": 10,
        "evaluate_operating_point": "youden",
        "image_augmentation": "poster",
        "image_size": 64,
        "preprocess_workers": 1,
        "gate_min_auroc": "0.5",
        "gate_noninferiority_margin": 0.02,
        "publish_model_name": "chest-radiograph",
        "publish_registry": "/registry",
        "train_seed": 1,
    }
    assert read_settings(folders[2]) == expected
    assert list(json.loads((folders[2] / "settings.json").read_text())) == sorted(expected)


def test_the_operating_point_is_youdens_or_keeps_a_sensitivity() -> None:
    assert Evaluate(publish_registry="/registry").operating_point() == OperatingPoint()
    sensitive = Evaluate(publish_registry="/registry", evaluate_operating_point="sensitivity=0.9")
    assert sensitive.operating_point() == OperatingPoint(sensitivity=0.9)


def test_the_record_of_a_stage_that_did_not_finish_is_missed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"settings\.json"):
        read_settings(tmp_path)
