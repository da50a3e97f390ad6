"""Parameters of the committed packages: types, defaults, and the help in the description."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from radiograft.config import all_settings
from radiograft_pipelines.compile import COMPILED

PACKAGE = COMPILED / "transfer_learning.yaml"


@pytest.fixture(scope="module")
def pipeline() -> dict[str, Any]:
    document: dict[str, Any] = next(yaml.safe_load_all(PACKAGE.read_text()))
    return document


@pytest.fixture(scope="module")
def parameters(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    definitions: dict[str, dict[str, Any]] = pipeline["root"]["inputDefinitions"]["parameters"]
    return definitions


def test_parameters_are_few_scalars(parameters: dict[str, dict[str, Any]]) -> None:
    assert len(parameters) <= 42  # 40, and preprocess_workers and train_trigger, which every run form needs
    kinds = {parameter["parameterType"] for parameter in parameters.values()}
    assert kinds == {"STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN"}
    prefixes = {name.partition("_")[0] for name in parameters}
    assert prefixes == {"data", "image", "preprocess", "model", "train", "evaluate", "gate", "publish"}


def test_source_and_registry_are_required(parameters: dict[str, dict[str, Any]]) -> None:
    required = {name for name, parameter in parameters.items() if not parameter.get("isOptional")}
    assert required == {"data_source", "publish_registry"}
    assert not [name for name in required if "defaultValue" in parameters[name]]


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("model_backbone", "densenet121"),
        ("model_weights", "imagenet"),
        ("image_size", 224),
        ("model_cut_off", "conv5_block16_2_conv"),
        ("data_format", "chestxray14"),
        ("data_labels", "Pneumonia"),
        ("image_augmentation", "poster"),
        ("train_optimizer", "adam"),
    ],
)
def test_defaults_follow_poster(parameters: dict[str, dict[str, Any]], name: str, default: object) -> None:
    assert parameters[name]["defaultValue"] == default


def test_description_lists_parameter_help_alphabetically(
    pipeline: dict[str, Any], parameters: dict[str, dict[str, Any]]
) -> None:
    summary, *lines = pipeline["pipelineInfo"]["description"].splitlines()
    assert "Not for diagnosis." in summary
    explained = dict(line.removeprefix("- ").split(": ", 1) for line in lines if line.startswith("- "))
    assert list(explained) == sorted(parameters)
    assert explained["image_size"] == "Width and height of the images that the network sees. From 32 to 1024 pixels."
    assert explained["train_optimizer"] == "Optimizer of both strategies. One of adam, adamw, rmsprop, sgd."
    assert explained["model_weights_md5"] == "Expected MD5 of a weight file; not checked if empty."
    for name, field in all_settings().items():
        assert explained[name].startswith(field.metadata["help"])


def test_cutoff_search_parameters_differ_only_in_cut_off_default(pipeline: dict[str, Any]) -> None:
    search = next(yaml.safe_load_all((COMPILED / "cutoff_search.yaml").read_text()))
    searched, whole = (package["root"]["inputDefinitions"]["parameters"] for package in (search, pipeline))
    assert searched.pop("model_cut_off") == {"defaultValue": "auto", "isOptional": True, "parameterType": "STRING"}
    assert searched == {name: parameter for name, parameter in whole.items() if name != "model_cut_off"}
