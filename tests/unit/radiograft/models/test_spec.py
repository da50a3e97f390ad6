"""The specification of a model: tensors by name, and both schema versions of contract.json."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from radiograft.backbones.spec import CAFFE
from radiograft.imaging.geometry import ImageInput
from radiograft.models.spec import FILE, ModelSpec, TensorInfo, TensorNames

SPEC = ModelSpec(
    image_size=64,
    labels=("Effusion", "Mass"),
    backbone="efficientnet_lite0",
    weights="imagenet",
    cut_off="top_conv",
    strategy="fine_tuning",
    head=("probabilities",),
    tensors=TensorNames(image="image", normalized="scaled", pooling="gap", probabilities="probabilities"),
    thresholds={"Mass": 0.25},
)
OLD: dict[str, Any] = {  # as version 0.1.0 of the package wrote it
    "image_size": 224,
    "labels": ["Pneumonia"],
    "backbone": "densenet121",
    "weights": "imagenet",
    "cut_off": "conv5_block16_2_conv",
    "strategy": "fine_tuning",
    "input": "uint8 [n, image_size, image_size, 1], grey, 0 black to 255 white; "  # stored text
    "normalised inside the model",  # stored text
    "serving_input": "image_bytes: string [n], encoded PNG or JPEG files",
    "pictures_input": "pictures: float32 [n, image_size, image_size, 1], 0 black to 255 white",
    "output": "probabilities: float32 [n, labels], each label for itself",
    "purpose": "Research only. Not for diagnosis.",
    "thresholds": {"Pneumonia": 0.5},
}


def test_read_returns_what_write_wrote(tmp_path: Path) -> None:
    SPEC.write(tmp_path)
    assert ModelSpec.read(tmp_path) == SPEC


def test_read_returns_normalization_of_network(tmp_path: Path) -> None:
    """A contract of an older version has none."""
    assert SPEC.normalization is None
    spec = dataclasses.replace(SPEC, normalization=CAFFE)
    spec.write(tmp_path)
    written = json.loads((tmp_path / "contract.json").read_text())
    assert written["normalization"]["channels"] == ["blue", "green", "red"]
    assert ModelSpec.read(tmp_path) == spec


def test_write_includes_schema_tensors_and_purpose(tmp_path: Path) -> None:
    SPEC.write(tmp_path)
    written = json.loads((tmp_path / "contract.json").read_text())
    assert written["schema_version"] == 2
    assert written["inputs"]["image"]["shape"] == [None, 64, 64, 1]
    assert written["outputs"]["probabilities"]["shape"] == [None, 2]
    assert list(written["signatures"]) == ["serving_default", "pictures"]
    assert written["tensors"]["pooling"] == "gap"
    assert written["purpose"] == "Research only. Not for diagnosis."


def test_inputs_and_signatures_have_dtypes_and_shapes() -> None:
    assert SPEC.inputs == {
        "image": TensorInfo("uint8", (None, 64, 64, 1), "gray, 0 black to 255 white; the network normalizes it")
    }
    assert SPEC.signatures["serving_default"] == {
        "image_bytes": TensorInfo("string", (None,), "encoded PNG or JPEG files")
    }
    assert SPEC.signatures["pictures"]["pictures"].shape == (None, 64, 64, 1)


def test_read_schema_version_1_returns_default_names(tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_text(json.dumps(OLD))
    spec = ModelSpec.read(tmp_path)
    assert (spec.image_size, spec.labels, spec.thresholds) == (224, ("Pneumonia",), {"Pneumonia": 0.5})
    assert spec.tensors == TensorNames("picture", "normalised", "pooled", "probabilities")
    assert spec.head == ("classifier_dense", "classifier_dropout", "probabilities")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 3}, "schema_version must be 1 or 2, got 3"),
        ({"image_size": 10_000_000}, "image_size must be at most 1024 pixels, got 10000000"),
        ({"image_size": True}, r"image_size must be of type int, got True \(bool\)"),
        ({"labels": []}, "labels must be names"),
        ({"labels": 5}, r"contract\.json must be the specification of a model: 'int' object is not iterable"),
        ({"thresholds": [1]}, "thresholds must be numbers by label"),
        ({"task": "ranking"}, "task must be one of multilabel, multiclass, binary, regression, got 'ranking'"),
        ({"channels": 4}, "channels must be 1 or 3, got 4"),
    ],
)
def test_read_malformed_file_raises_with_field(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_text(json.dumps(OLD | change))
    with pytest.raises(ValueError, match=message):
        ModelSpec.read(tmp_path)


def test_read_missing_field_raises_with_field(tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_text(json.dumps({name: OLD[name] for name in OLD if name != "backbone"}))
    with pytest.raises(ValueError, match="'backbone'"):
        ModelSpec.read(tmp_path)


def test_model_spec_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.image_size = 32  # type: ignore[misc]


def test_read_returns_how_images_are_converted(tmp_path: Path) -> None:
    """Fails if a model that was trained on padded images of 12 bits is served stretched ones of 16."""
    spec = dataclasses.replace(SPEC, image_resize="pad", gray_range=(0, 4095))
    spec.write(tmp_path)
    written = json.loads((tmp_path / "contract.json").read_text())
    assert (written["image_resize"], written["gray_range"]) == ("pad", [0, 4095])
    assert ModelSpec.read(tmp_path) == spec
    assert ModelSpec.read(tmp_path).image_input == ImageInput(64, "pad", (0, 4095))


def test_read_contract_without_conversion_returns_that_of_old_models(tmp_path: Path) -> None:
    SPEC.write(tmp_path)
    written = json.loads((tmp_path / "contract.json").read_text())
    del written["image_resize"], written["gray_range"]
    (tmp_path / "contract.json").write_text(json.dumps(written))
    assert ModelSpec.read(tmp_path).image_input == ImageInput(64, "stretch", None)


def test_write_exclusive_classes_says_that_probabilities_sum_to_1(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, task="multiclass", thresholds=None)
    spec.write(tmp_path)
    written = json.loads((tmp_path / "contract.json").read_text())
    assert written["task"] == "multiclass"
    assert written["outputs"]["probabilities"]["meaning"] == "probability of each class; they sum to 1"
    assert ModelSpec.read(tmp_path) == spec
    assert spec.is_exclusive


def test_read_contract_without_task_returns_multilabel(tmp_path: Path) -> None:
    SPEC.write(tmp_path)
    written = json.loads((tmp_path / "contract.json").read_text())
    del written["task"]
    (tmp_path / "contract.json").write_text(json.dumps(written))
    assert ModelSpec.read(tmp_path).task == "multilabel"
    assert not ModelSpec.read(tmp_path).is_exclusive


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_resize": "crop"}, "image_resize must be one of stretch, pad, got 'crop'"),
        ({"gray_range": [4095, 0]}, "image_gray_range must be auto or low:high"),
        ({"gray_range": [0, 70_000]}, "image_gray_range must be auto or low:high"),
        ({"gray_range": [0]}, "contract.json must be the specification of a model"),
        ({"gray_range": 4095}, "contract.json must be the specification of a model"),
    ],
)
def test_read_malformed_conversion_raises(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_text(json.dumps(OLD | change))
    with pytest.raises(ValueError, match=message):
        ModelSpec.read(tmp_path)


def test_write_rgb_spec_describes_three_channels(tmp_path: Path) -> None:
    dataclasses.replace(SPEC, channels=3).write(tmp_path)
    spec = ModelSpec.read(tmp_path)
    assert spec.image_input.channels == 3
    assert spec.inputs["image"].shape == spec.signatures["pictures"]["pictures"].shape == (None, 64, 64, 3)
    assert spec.inputs["image"].meaning == "red, green and blue, 0 dark to 255 bright; the network normalizes it"


def test_read_contract_without_channels_is_gray(tmp_path: Path) -> None:
    """Fails if a version that was published before models of color existed cannot be served."""
    (tmp_path / "contract.json").write_text(json.dumps(OLD))
    assert ModelSpec.read(tmp_path).channels == 1


def test_read_contract_without_branches_is_global(tmp_path: Path) -> None:
    SPEC.write(tmp_path)
    written = json.loads((tmp_path / FILE).read_text())
    assert "branches" not in written
    (tmp_path / FILE).write_text(json.dumps({**written, "branches": "three"}))
    with pytest.raises(ValueError, match="branches must be global or attention_guided, got 'three'"):
        ModelSpec.read(tmp_path)
    (tmp_path / FILE).write_text(json.dumps(written))
    assert ModelSpec.read(tmp_path).branches == "global"
