"""Builds a backbone with its input normalization and its pretrained weights."""

from __future__ import annotations

import keras

from radiograft.backbones import BackboneSpec, get_backbone
from radiograft.backbones.spec import NORMALIZATIONS, Normalization
from radiograft.config.network import AUTO_NORMALIZATION
from radiograft.imaging.geometry import GRAY, RGB
from radiograft.models import attention
from radiograft.models.pretrained import Build, check_colors, from_rescaling, load_pretrained, open_weights
from radiograft.models.spec import DEFAULT_NAMES, TensorNames
from radiograft.storage.keras_weights import RESCALING_PREFIX

COLORS = ("red", "green", "blue")  # order of the channels of an RGB image


def normalized_input(
    image_size: int,
    normalization: Normalization,
    names: TensorNames = DEFAULT_NAMES,
    channels: int = GRAY,
    stored_size: int = 0,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Returns the input, uint8 [n, size, size, channels], and the normalized image, float32 [n, size, size, 3 or 1].

    If images are stored at another size, the input has that size and is shrunk by `radiograft.models.attention.shrink`.

    Each channel of the network reads the gray image, or its own color of an RGB image. A network whose normalization
    has one channel reads gray images only.
    """
    side = stored_size or image_size
    given = image = keras.Input((side, side, channels), dtype="uint8", name=names.image)
    if side != image_size:
        image = attention.shrink(given, image_size)
    normalized = [
        keras.layers.Rescaling(1 / (255 * std), -mean / std, dtype="float32", name=f"{RESCALING_PREFIX}{color}")(
            image if channels == GRAY else select_color(image, color)
        )
        for color, mean, std in zip(normalization.channels, normalization.mean, normalization.std, strict=True)
    ]
    return given, keras.layers.Concatenate(name=names.normalized, dtype="float32")(normalized)


def read_normalization(network: keras.Model) -> Normalization:
    """Returns the normalization that a network of this package computes."""
    return from_rescaling(
        {
            layer.name.removeprefix(RESCALING_PREFIX): (layer.scale, layer.offset)
            for layer in network.layers
            if isinstance(layer, keras.layers.Rescaling) and layer.name.startswith(RESCALING_PREFIX)
        }
    )


def select_color(image: keras.KerasTensor, color: str) -> keras.KerasTensor:
    """Returns `red`, `green` or `blue` of an RGB image, [n, size, size, 1], by layers that are built into Keras."""
    size, place = image.shape[1], COLORS.index(color)
    planes = keras.layers.Reshape((size, size, RGB, 1), dtype="float32", name=f"planes_for_{color}")(image)
    cropping = ((0, 0), (0, 0), (place, RGB - 1 - place))
    plane = keras.layers.Cropping3D(cropping, dtype="float32", name=f"select_{color}")(planes)
    return keras.layers.Reshape((size, size, 1), dtype="float32", name=color)(plane)


def build_backbone(
    name: str,
    weights: str = "imagenet",
    md5: str = "",
    image_size: int = 224,
    channels: int = GRAY,
    normalization: str = AUTO_NORMALIZATION,
    random_weights: bool = False,
    stored_size: int = 0,
) -> keras.Model:
    """Builds a backbone without its classifier as one flat graph, from 8-bit images to the last feature map.

    Args:
        name: one of `radiograft.backbones.list_backbones()`.
        weights: `imagenet`, `none` (random, from the global seed), the path, gs:// or s3:// URI of a weight file, or
            the name of an installed package, see `radiograft.backbones.packages`.
        md5: the MD5 that the weight file must have; empty to accept any.
        image_size: side of the square input in pixels.
        channels: of the input: 1 for gray images, which all channels of the network read, or 3 for RGB.
        normalization: what the weights expect of the input: `auto`, or a name in
            `radiograft.backbones.spec.NORMALIZATIONS`.
        random_weights: whether to build the network that `weights` fit, with their normalization, but to leave its
            weights random: the baseline of transfer learning.
        stored_size: side of the input in pixels if the network shrinks it to `image_size`; 0 if it does not.

    Returns:
        A network from uint8 [n, image_size, image_size, channels], 0 black to 255 white, to the last feature map,
        float32 [n, height, width, features]; its sides are image_size / 32 except in AlexNet, SqueezeNet and
        InceptionV3.

    Raises:
        ValueError: the name is unknown, the network does not support the image size, the weight file has another MD5 or
            does not fit the network, or its normalization is unknown and not given.
        RuntimeError: the ImageNet weights are not available; the message says how to get them.

    Example:
        >>> backbone = build_backbone("efficientnet_lite0", weights="none", image_size=64)
        >>> backbone.output_shape
        (None, 2, 2, 1280)
    """
    spec = get_backbone(name)
    spec.check_image_size(image_size)
    build, pretrained, chosen = _pretrained(spec, weights, md5, normalization, random_weights)
    check_colors(chosen, weights, channels)
    _, normalized = normalized_input(image_size, chosen, channels=channels, stored_size=stored_size)
    network = build(include_top=False, weights=None, input_tensor=normalized)
    model = keras.Model(network.inputs[0], network.output, name=name)  # the constructor may have copied the whole graph
    if pretrained is not None:
        model.set_weights(pretrained.get_weights())
    return model


def _pretrained(
    spec: BackboneSpec, weights: str, md5: str, normalization: str, random_weights: bool
) -> tuple[Build, keras.Model | None, Normalization]:
    """Returns the constructor, the network with pretrained weights or None, and what the weights expect of the input.

    The weights have the same order as in the flat graph.
    """
    if weights in ("none", "imagenet"):
        given = NORMALIZATIONS.get(normalization, spec.normalization).for_channels(3)
        return spec.build, _imagenet(spec) if weights == "imagenet" and not random_weights else None, given
    with open_weights(weights, md5) as path:
        try:
            fitted, chosen = load_pretrained(spec, path, normalization)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(
                f"model_weights must fit {spec.name} without its classifier, {weights} does not: {error}"
            ) from error
    return fitted.build, None if random_weights else fitted.fit.network, chosen


def _imagenet(spec: BackboneSpec) -> keras.Model:
    try:
        return spec.build(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise RuntimeError(f"cannot get ImageNet weights of {spec.name}: {error}; {spec.weights_help}") from error
