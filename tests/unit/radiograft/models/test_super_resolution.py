"""The law of the projection: the generator's output, shrunk by preprocess, is its input."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.imaging.decode import decode, encode_png
from radiograft.imaging.geometry import ImageInput
from radiograft.imaging.scaling import bicubic_matrix, shrink_matrix
from radiograft.models.super_resolution import (
    FeatureDistance,
    build_discriminator,
    build_generator,
    enlarge_bicubic,
    remove_detail,
    shrink,
    to_pixels,
)


def generator(scale: int, channels: int = 1, seed: int = 0) -> keras.Model:
    """Returns an untrained generator whose last convolution is random, so that it draws wild detail."""
    network = build_generator(scale, channels, filters=4, blocks=1, seed=seed)
    last = network.get_layer("residual")
    last.set_weights([np.random.default_rng(seed).normal(0, 1, weight.shape) for weight in last.get_weights()])
    return network


@pytest.fixture(scope="module")
def generators() -> dict[int, keras.Model]:
    return {scale: generator(scale) for scale in (2, 4)}


def shrunk_by_preprocess(image: np.ndarray, scale: int) -> np.ndarray:
    """Returns the image as the preprocess stage resizes it."""
    return decode(encode_png(image), ImageInput(len(image) // scale, channels=image.shape[-1])).numpy()


@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([2, 4]), side=st.sampled_from([8, 13]))
@settings(max_examples=10, deadline=None)
def test_generator_output_shrunk_is_its_input(
    generators: dict[int, keras.Model], seed: int, scale: int, side: int
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (2, side, side, 1)).astype("float32")
    enlarged = generators[scale](images)
    assert enlarged.shape == (2, side * scale, side * scale, 1)
    np.testing.assert_allclose(shrink(enlarged, scale), images, atol=0.02)


@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([2, 4]), contrast=st.floats(0.1, 1.0))
@settings(max_examples=10, deadline=None)
def test_generator_8_bit_output_shrunk_by_preprocess_is_its_input_up_to_rounding(
    generators: dict[int, keras.Model], seed: int, scale: int, contrast: float
) -> None:
    noise = np.random.default_rng(seed).uniform(127.5 - 127.5 * contrast, 127.5 + 127.5 * contrast, (64, 64, 1))
    small = shrunk_by_preprocess(noise.round().astype("uint8"), scale)
    enlarged = np.asarray(to_pixels(generators[scale](small[None].astype("float32"))))[0]
    again = shrunk_by_preprocess(enlarged, scale)
    assert np.abs(again.astype(int) - small).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 4])
def test_shrink_equals_the_resize_of_preprocess(scale: int, channels: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (48, 48, channels), dtype="uint8")
    ours = np.asarray(shrink(image[None].astype("float32"), scale))[0]
    assert np.abs(ours - shrunk_by_preprocess(image, scale)).max() <= 0.501


def test_untrained_generator_is_projected_bicubic() -> None:
    small = np.random.default_rng(2).uniform(110, 140, (1, 12, 12, 1)).astype("float32")
    network = build_generator(2, filters=4, blocks=2)
    bicubic = enlarge_bicubic(small, 2)
    np.testing.assert_allclose(shrink(network(small), 2), small, atol=0.01)
    detail = network(small) - remove_detail(network(small), 2)
    np.testing.assert_allclose(detail, bicubic - remove_detail(bicubic, 2), atol=0.01)


def test_build_generator_other_scale_raises() -> None:
    with pytest.raises(ValueError, match="model_scale must be 2 or 4, got 3"):
        build_generator(3, filters=4, blocks=1)


def test_shrink_matrix_indivisible_size_raises() -> None:
    with pytest.raises(ValueError, match=r"multiple of model_scale \(4\), got 30"):
        shrink_matrix(30, 4)


def test_bicubic_matrix_reproduces_a_line_inside() -> None:
    line = bicubic_matrix(8, 2) @ np.arange(8.0)
    np.testing.assert_allclose(line[4:12], np.arange(4, 12) / 2 - 0.25, atol=1e-12)


def test_saved_generator_loads_in_safe_mode_and_gives_the_same(tmp_path: Path) -> None:
    network, images = generator(4), np.random.default_rng(3).uniform(0, 255, (1, 8, 8, 1)).astype("float32")
    network.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(images), network(images))


def test_generator_of_the_same_seed_has_the_same_weights() -> None:
    one, same, other = (build_generator(2, filters=4, blocks=1, seed=seed).get_weights() for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_discriminator_scores_each_crop_by_itself() -> None:
    network = build_discriminator(filters=4)
    crops = np.random.default_rng(4).uniform(0, 255, (3, 16, 16, 1)).astype("float32")
    together = network(crops)
    assert together.shape == (3,)
    np.testing.assert_allclose(together[1:2], network(crops[1:2]), rtol=1e-5)


def test_feature_distance_normalizes_as_the_backbone_and_is_zero_for_equal_crops() -> None:
    from radiograft.models.backbone import build_backbone

    backbone = build_backbone("squeezenet", weights="none", image_size=64)
    distance = FeatureDistance(backbone, "fire3")
    image = np.random.default_rng(5).integers(0, 256, (1, 64, 64, 1)).astype("float32")
    through_backbone = keras.Model(backbone.input, backbone.get_layer("fire3").output)(image.astype("uint8"))
    np.testing.assert_allclose(distance.features(distance._normalize(image)), through_backbone, rtol=1e-4, atol=1e-4)
    assert float(distance(image, image)[0]) == 0.0
    assert float(distance(image, 255 - image)[0]) > 0.0
