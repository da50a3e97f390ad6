"""Every backbone can be built, cut, tapped, saved and exported, and computes what the original network computes."""

from __future__ import annotations

import functools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from radiograft.backbones import get_backbone, list_backbones
from radiograft.models.artifact import export_saved_model, load_model, save_model
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import build_tap_model, last_convolution, parse_cut_offs, tap_widths, unfreeze_from
from radiograft.models.graph_split import split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.models.spec import ModelSpec

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
ONE_OF_EACH_FAMILY = (  # DenseNet-121 is used in many other tests
    *("alexnet", "convnext_tiny", "efficientnet_lite1", "efficientnet_v2_b0", "googlenet", "inception_v3"),
    *("mobilenet_v2", "resnet50", "squeezenet", "vgg16"),
)

OTHERS = tuple(name for name in list_backbones() if name not in ONE_OF_EACH_FAMILY)

# With this scope, all tests of a network run in a row, and it is built once. For that, both lists start with the same
# names.
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
    model = backbone(name)
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
    model = backbone(name)
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
