"""Builds a backbone with its input normalization and its pretrained weights."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from pathlib import Path, PurePosixPath

import keras

from radiograft import storage
from radiograft.backbones import BackboneSpec, get_backbone
from radiograft.backbones.spec import Normalization
from radiograft.backbones.torch_layers import set_torch_weights
from radiograft.imaging.geometry import GRAY, RGB
from radiograft.models import hdf5_check
from radiograft.models.spec import DEFAULT_NAMES, TensorNames
from radiograft.storage.torch_checkpoint import is_torch_checkpoint, read_tensors

log = logging.getLogger(__name__)

COLORS = ("red", "green", "blue")  # order of the channels of an RGB image


def normalized_input(
    image_size: int, normalization: Normalization, names: TensorNames = DEFAULT_NAMES, channels: int = GRAY
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Returns the input, uint8 [n, size, size, channels], and the normalized image, float32 [n, size, size, 3].

    Each channel of the network reads the gray image, or its own color of an RGB image.
    """
    image = keras.Input((image_size, image_size, channels), dtype="uint8", name=names.image)
    normalized = [
        keras.layers.Rescaling(1 / (255 * std), -mean / std, dtype="float32", name=f"normalise_{color}")(
            image if channels == GRAY else select_color(image, color)
        )
        for color, mean, std in zip(normalization.channels, normalization.mean, normalization.std, strict=True)
    ]
    return image, keras.layers.Concatenate(name=names.normalized, dtype="float32")(normalized)


def select_color(image: keras.KerasTensor, color: str) -> keras.KerasTensor:
    """Returns `red`, `green` or `blue` of an RGB image, [n, size, size, 1], by layers that are built into Keras."""
    size, place = image.shape[1], COLORS.index(color)
    planes = keras.layers.Reshape((size, size, RGB, 1), dtype="float32", name=f"planes_for_{color}")(image)
    cropping = ((0, 0), (0, 0), (place, RGB - 1 - place))
    plane = keras.layers.Cropping3D(cropping, dtype="float32", name=f"select_{color}")(planes)
    return keras.layers.Reshape((size, size, 1), dtype="float32", name=color)(plane)


def build_backbone(
    name: str, weights: str = "imagenet", md5: str = "", image_size: int = 224, channels: int = GRAY
) -> keras.Model:
    """Builds a backbone without its classifier as one flat graph, from 8-bit images to the last feature map.

    Args:
        name: one of `radiograft.backbones.list_backbones()`.
        weights: `imagenet`, `none` (random, from the global seed), or the path, gs:// or s3:// URI of a weight file
            of Keras or of a PyTorch checkpoint with torchvision's names.
        md5: the MD5 that the weight file must have; empty to accept any.
        image_size: side of the square input in pixels.
        channels: of the input: 1 for gray images, which all channels of the network read, or 3 for RGB.

    Returns:
        A network from uint8 [n, image_size, image_size, channels], 0 black to 255 white, to the last feature map,
        float32 [n, height, width, features]; its sides are image_size / 32 except in AlexNet, SqueezeNet and
        InceptionV3.

    Raises:
        ValueError: the name is unknown, the network does not support the image size, or the weight file has another MD5
            or does not fit the network.
        RuntimeError: the ImageNet weights are not available; the message says how to get them.

    Example:
        >>> backbone = build_backbone("efficientnet_lite0", weights="none", image_size=64)
        >>> backbone.output_shape
        (None, 2, 2, 1280)
    """
    spec = get_backbone(name)
    spec.check_image_size(image_size)
    pretrained, normalization = (None, spec.normalization) if weights == "none" else _pretrained(spec, weights, md5)
    _, normalized = normalized_input(image_size, normalization, channels=channels)
    network = spec.build(include_top=False, weights=None, input_tensor=normalized)
    model = keras.Model(network.inputs[0], network.output, name=name)  # the constructor may have copied the whole graph
    if pretrained is not None:
        model.set_weights(pretrained.get_weights())
    return model


def _pretrained(spec: BackboneSpec, weights: str, md5: str) -> tuple[keras.Model, Normalization]:
    """Returns the backbone for RGB input with pretrained weights, and what these expect of the input.

    The weights have the same order as in the flat graph.
    """
    if weights == "imagenet":
        try:
            return spec.build(include_top=False, weights="imagenet", input_shape=(224, 224, 3)), spec.normalization
        except Exception as error:  # Keras raises a bare Exception when a download fails
            raise RuntimeError(f"cannot get ImageNet weights of {spec.name}: {error}; {spec.weights_help}") from error
    bare = spec.build(include_top=False, weights=None, input_shape=(224, 224, 3))
    with tempfile.TemporaryDirectory() as folder:
        path = _fetch(weights, md5, Path(folder))
        try:
            return bare, _load(bare, spec, path)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(
                f"model_weights must fit {spec.name} without its classifier, {weights} does not: {error}"
            ) from error


def _load(bare: keras.Model, spec: BackboneSpec, path: Path) -> Normalization:
    """Loads a weight file of Keras or PyTorch, whatever its name is; returns what the weights expect of the input."""
    if not is_torch_checkpoint(path):
        hdf5_check.check_hdf5(path)
        bare.load_weights(path)
        return spec.normalization
    if spec.torchvision is None:
        raise ValueError("it is a PyTorch checkpoint, whose network is another one; give a file of Keras")
    set_torch_weights(bare, spec.torchvision.names, read_tensors(path))
    return spec.torchvision.normalization


def _fetch(weights: str, md5: str, folder: Path) -> Path:
    """Copies a weight file to `folder` and verifies its MD5."""
    content = storage.read_bytes(weights)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 and digest != md5.lower():
        raise ValueError(
            f"model_weights_md5 must be the MD5 of {weights}: expected {md5}, got {digest}; "
            "the file is different or corrupt"
        )
    log.info("weights from %s, MD5 %s", weights, digest)
    path = folder / PurePosixPath(weights).name
    path.write_bytes(content)
    return path
