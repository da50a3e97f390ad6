"""Every backbone can be built, cut, tapped, saved and exported, and computes what the original network computes."""

from __future__ import annotations

import functools
import json
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from radiograft.backbones import get_backbone, list_backbones
from radiograft.backbones.torch_layers import set_torch_weights
from radiograft.models.artifact import export_saved_model, load_model, save_model
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import build_tap_model, last_convolution, parse_cut_offs, tap_widths, unfreeze_from
from radiograft.models.graph_split import split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.models.spec import ModelSpec
from tests.unit.radiograft.storage.test_torch_checkpoint import (
    state_dict,
    tensor_opcodes,
    zip_checkpoint,
    zip_storage,
)

LABELS = ("A", "B")
# Parameters with the statistics of normalizations, the map of the smallest image, and weights trained from the cut-off.
EXPECTED = {
    "alexnet": (2_469_696, (1, 1, 256), 590_080),
    "convnext_tiny": (27_820_128, (1, 1, 768), 4_764_672),
    "densenet121": (7_037_504, (1, 1, 1024), 36_864),
    "densenet169": (12_642_880, (1, 1, 1664), 36_864),
    "densenet201": (18_321_984, (1, 1, 1920), 36_864),
    "efficientnet_lite0": (3_413_024, (1, 1, 1280), 409_600),
    "efficientnet_lite1": (4_189_344, (1, 1, 1280), 409_600),
    "efficientnet_lite2": (4_869_168, (1, 1, 1280), 450_560),
    "efficientnet_v2_b0": (5_919_312, (1, 1, 1280), 245_760),
    "efficientnet_v2_s": (20_331_360, (1, 1, 1280), 327_680),
    "googlenet": (5_614_464, (1, 1, 1024), 1_344_512),
    "inception_v3": (21_802_784, (1, 1, 2048), 6_070_272),
    "mobilenet_v2": (2_257_984, (1, 1, 1280), 409_600),
    "resnet50": (23_587_712, (1, 1, 2048), 1_050_624),
    "resnet101": (42_658_176, (1, 1, 2048), 1_050_624),
    "resnet152": (58_370_944, (1, 1, 2048), 1_050_624),
    "squeezenet": (722_496, (1, 1, 512), 197_184),
    "vgg16": (14_714_688, (1, 1, 512), 2_359_808),
}
# Networks of keras.applications, and the input that their weights expect: one of each family, where they differ.
ORIGINALS = {
    "convnext_tiny": (keras.applications.ConvNeXtTiny, {"include_preprocessing": True}, None),
    "densenet121": (keras.applications.DenseNet121, {}, keras.applications.densenet.preprocess_input),
    "efficientnet_v2_b0": (keras.applications.EfficientNetV2B0, {"include_preprocessing": True}, None),
    "efficientnet_v2_s": (keras.applications.EfficientNetV2S, {"include_preprocessing": True}, None),
    "inception_v3": (keras.applications.InceptionV3, {}, keras.applications.inception_v3.preprocess_input),
    "mobilenet_v2": (keras.applications.MobileNetV2, {}, keras.applications.mobilenet_v2.preprocess_input),
    "resnet50": (keras.applications.ResNet50, {}, keras.applications.resnet.preprocess_input),
    "vgg16": (keras.applications.VGG16, {}, keras.applications.vgg16.preprocess_input),
}
ONE_OF_EACH_FAMILY = ("alexnet", "efficientnet_lite1", "googlenet", "squeezenet", *ORIGINALS)

OTHERS = tuple(name for name in list_backbones() if name not in ONE_OF_EACH_FAMILY)

# With this scope, all tests of a network run in a row, and it is built once. For that, both lists start alike.
every_backbone = pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY + OTHERS, scope="module")
one_of_each_family = pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY, scope="module")


def gray(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 1), dtype=np.uint8)


@functools.lru_cache(maxsize=1)
def network(name: str) -> keras.Model:
    """Returns the backbone with a classifier; the statistics of its normalizations are random."""
    keras.utils.set_random_seed(0)
    features = build_feature_extractor(build_backbone(name, "none", "", get_backbone(name).min_size))
    random = np.random.default_rng(1)
    for layer in features.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weights.shape) for weights in layer.get_weights()])
    classifier = build_classifier(features.output.shape[-1], 2, dense_units=8, dropout=0.0, l2=0.0, seed=0)
    return attach_classifier(features, classifier)


@functools.lru_cache(maxsize=1)
def backbone(name: str) -> keras.Model:
    whole = network(name)
    return keras.Model(whole.inputs[0], whole.get_layer(get_backbone(name).taps[-1]).output, name=name)


def names_in_order(model: keras.Model, names: tuple[str, ...]) -> list[str]:
    return [layer.name for layer in model.layers if layer.name in names]


def test_expected_sizes_cover_every_backbone() -> None:
    assert tuple(EXPECTED) == list_backbones()


@every_backbone
def test_build_backbone_has_expected_size_and_map(name: str) -> None:
    parameters, feature_map, _ = EXPECTED[name]
    model = backbone(name)
    assert (model.count_params(), model.output_shape[1:]) == (parameters, feature_map)
    assert network(name).get_layer("pooled").input is network(name).get_layer(get_backbone(name).taps[-1]).output
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)


@every_backbone
def test_cut_offs_and_taps_are_layers_in_order(name: str) -> None:
    spec, model = get_backbone(name), network(name)
    assert names_in_order(model, spec.cut_offs) == list(spec.cut_offs)
    assert names_in_order(model, spec.taps) == list(spec.taps)
    candidates = parse_cut_offs("auto", model, spec, ("classifier_dense", "probabilities"))
    assert spec.default_cut_off in candidates


@one_of_each_family
def test_network_that_ends_at_any_tap_has_cut_offs(name: str) -> None:
    spec, model = get_backbone(name), backbone(name)
    for tap in spec.taps:
        shortened = build_feature_extractor(model, tap)
        candidates = parse_cut_offs("auto", shortened, spec)
        assert candidates[-1] == last_convolution(shortened)


@every_backbone
def test_default_cut_off_trains_last_convolutions_only(name: str) -> None:
    model = keras.models.clone_model(backbone(name))
    assert unfreeze_from(model, get_backbone(name).default_cut_off) == EXPECTED[name][2]


@every_backbone
def test_split_model_at_default_cut_off_keeps_outputs(name: str) -> None:
    spec, model = get_backbone(name), network(name)
    images = gray(spec.min_size)
    for layer in model.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    cut = split_model(model, spec.default_cut_off)
    expected = model(images, training=False)
    np.testing.assert_allclose(cut.suffix(cut.prefix(images, training=False), training=False), expected, atol=1e-5)


@every_backbone
def test_build_tap_model_joins_pooled_outputs(name: str) -> None:
    spec, model = get_backbone(name), backbone(name)
    images = gray(spec.min_size)
    chosen = (spec.taps[0], spec.taps[-1])
    features = np.array(build_tap_model(model, chosen)(images, training=False))
    maps = keras.Model(model.inputs[0], [model.get_layer(tap).output for tap in chosen])(images, training=False)
    expected = np.concatenate([np.array(layer_map).mean(axis=(1, 2)) for layer_map in maps], axis=-1)
    assert features.shape == (2, sum(tap_widths(model, chosen)))
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@one_of_each_family
def test_frozen_backbone_gives_same_features_in_training(name: str) -> None:
    """Otherwise features could not be cached."""
    model = keras.models.clone_model(backbone(name))
    model.trainable = False
    images = gray(get_backbone(name).min_size)
    np.testing.assert_array_equal(model(images, training=True), model(images, training=False))


@one_of_each_family
def test_saved_and_exported_network_gives_same_probabilities(name: str, tmp_path: Path) -> None:
    size, model = get_backbone(name).min_size, network(name)
    spec = ModelSpec(size, LABELS, name, "none", "", "fine_tuning", thresholds={})
    save_model(tmp_path / "saved", model, spec, {})
    images = gray(size)
    expected = np.array(model(images, training=False))
    np.testing.assert_allclose(load_model(tmp_path / "saved")(images, training=False), expected, atol=1e-6)
    export_saved_model(model, spec, tmp_path / "exported")
    exported = tf.saved_model.load(str(tmp_path / "exported")).signatures["pictures"]
    (probabilities,) = exported(pictures=tf.constant(images, tf.float32)).values()
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("name", ORIGINALS)
def test_build_backbone_matches_keras_network_with_its_preprocessing(name: str) -> None:
    size, (constructor, options, preprocess) = get_backbone(name).min_size, ORIGINALS[name]
    original = constructor(include_top=False, weights=None, input_shape=(size, size, 3), **options)
    keras.utils.set_random_seed(3)
    model = build_backbone(name, "none", "", size)
    weights = [0.7 * weight + 0.1 for weight in model.get_weights()] if name == "convnext_tiny" else model.get_weights()
    model.set_weights(weights)
    original.set_weights(weights)
    images = gray(size)
    color = np.repeat(images, 3, axis=-1).astype("float32")
    expected = np.array(original(preprocess(color) if preprocess else color, training=False))
    np.testing.assert_allclose(model(images, training=False), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_inception_v3_layer_names_do_not_depend_on_earlier_networks() -> None:
    names = [[layer.name for layer in get_backbone("inception_v3").build(weights=None).layers[1:]] for _ in range(2)]
    assert names[0] == names[1]
    assert names[0][:4] == ["conv2d", "batch_normalization", "activation", "conv2d_1"]
    assert {"conv2d_93", "batch_normalization_93", "activation_93", "max_pooling2d_3", "concatenate_1"} <= set(names[0])


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "squeezenet"])
def test_network_without_keras_weights_refuses_imagenet(name: str) -> None:
    with pytest.raises(
        RuntimeError, match=rf"ImageNet weights of {name}: .*; give .* torchvision's file {name}.*\.pth"
    ):
        build_backbone(name, "imagenet", "", 64)
    with pytest.raises(ValueError, match=f"include_top must be False for {name}"):
        get_backbone(name).build(include_top=True)


def torch_tensors(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Makes the random state dict for which the reference results were computed."""
    return {name: _torch_tensor(name, shape, shapes) for name, shape in shapes.items() if shape}


def _torch_tensor(name: str, shape: list[int], shapes: dict[str, list[int]]) -> np.ndarray:
    random, (layer, _, part) = np.random.default_rng(zlib.crc32(name.encode())), name.rpartition(".")
    if f"{layer}.running_mean" in shapes:
        low_high = {"weight": (0.5, 1.0), "running_var": (0.5, 1.5)}
        values = random.uniform(*low_high[part], shape) if part in low_high else 0.1 * random.standard_normal(shape)
    elif len(shape) > 1:
        values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    else:
        values = 0.05 * random.standard_normal(shape)
    return values.astype("float32")


@pytest.mark.parametrize("name", ["alexnet", "densenet121", "googlenet", "vgg16"])
def test_network_matches_torchvision(name: str, test_data: Path) -> None:
    shapes = json.loads((test_data / "torch_state_dict_shapes.json").read_text())[name]
    reference = np.load(test_data / "torchvision_reference.npz")
    spec = get_backbone(name)
    assert spec.torchvision is not None
    model = spec.build(include_top=False, weights=None, input_shape=(224, 224, 3))
    set_torch_weights(model, spec.torchvision.names, torch_tensors(shapes))
    images = (reference["pictures"] / 255 - reference["mean"]) / reference["std"]
    pooled = np.array(model(images.astype("float32"), training=False)).mean(axis=(1, 2))
    expected = reference[f"{name}_pooled"]
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_set_torch_weights_unfit_state_dict_raises_and_changes_nothing() -> None:
    spec = get_backbone("squeezenet")
    assert spec.torchvision is not None
    model = spec.build(weights=None)
    before = model.get_weights()
    tensors = {"features.0.weight": np.zeros((64, 3, 3, 3)), "features.0.bias": np.zeros(63)}
    with pytest.raises(ValueError, match=r"the 50 tensors of squeezenet, but 48 are missing \(such as features\.3\."):
        set_torch_weights(model, spec.torchvision.names, tensors)
    with pytest.raises(
        ValueError, match=r"1 have another shape \(such as features\.0\.bias \[63\] instead of \[64\]\)"
    ):
        set_torch_weights(model, spec.torchvision.names, tensors)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def old_name(name: str) -> str:
    """Returns the name that DenseNet's tensors had before PyTorch 0.4, with the prefix of DataParallel."""
    return "module." + name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2.")


@pytest.mark.parametrize("rename", [str, old_name])
def test_build_backbone_torch_checkpoint_is_loaded(rename: Callable[[str], str], tmp_path: Path) -> None:
    spec = get_backbone("densenet121")
    assert spec.torchvision is not None
    keras.utils.set_random_seed(4)
    expected = spec.build(include_top=False, weights=None, input_shape=(32, 32, 3))
    tensors = {rename(name): array for name, array in torch_state(expected, spec.torchvision.names).items()}
    write_torch_zip(tmp_path / "weights.pth", tensors)
    model = build_backbone("densenet121", str(tmp_path / "weights.pth"), "", 32)
    for one, other in zip(expected.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_build_backbone_torch_checkpoint_brings_its_normalization(tmp_path: Path) -> None:
    """Keras's VGG-16 expects BGR from 0 to 255 less the mean; torchvision's expects mean and deviation."""
    spec = get_backbone("vgg16")
    assert spec.torchvision is not None
    original = spec.build(include_top=False, weights=None, input_shape=(32, 32, 3))
    write_torch_zip(tmp_path / "vgg16.pt", torch_state(original, spec.torchvision.names))
    images = gray(32)
    color = (np.repeat(images, 3, axis=-1) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    model = build_backbone("vgg16", str(tmp_path / "vgg16.pt"), "", 32)
    np.testing.assert_allclose(model(images), original(color.astype("float32")), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50", "it is a PyTorch checkpoint, whose network is another one; give a file of Keras"),
        ("squeezenet", r"the 50 tensors of squeezenet, but 49 are missing .* and 1 have another shape"),
    ],
)
def test_build_backbone_unfit_torch_checkpoint_raises(name: str, message: str, tmp_path: Path) -> None:
    write_torch_zip(tmp_path / "other.pth", {"features.0.bias": np.zeros(3, "float32")})
    with pytest.raises(
        ValueError, match=f"model_weights must fit {name} without its classifier, .*other.pth.*{message}"
    ):
        build_backbone(name, str(tmp_path / "other.pth"), "", 64)


def torch_state(model: keras.Model, names: Sequence[tuple[str, str]]) -> dict[str, np.ndarray]:
    """Returns a network's weights as PyTorch keeps them."""
    state = {}
    for layer, prefix in names:
        arrays = model.get_layer(layer).get_weights()
        parts = ("weight", "bias", "running_mean", "running_var")
        for part, array in zip(parts, arrays, strict=False):
            state[f"{prefix}.{part}"] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    return state


def write_torch_zip(path: Path, tensors: dict[str, np.ndarray]) -> None:
    keys = {name: str(number) for number, name in enumerate(tensors)}
    opcodes = {
        name: tensor_opcodes(
            zip_storage("FloatStorage", keys[name], array.size),
            0,
            array.shape,
            tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)),
        )
        for name, array in tensors.items()
    }
    storages = {keys[name]: np.ascontiguousarray(array).tobytes() for name, array in tensors.items()}
    path.write_bytes(zip_checkpoint(state_dict(opcodes), storages))
