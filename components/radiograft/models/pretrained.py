"""Loads a weight file into the network that it fits, and chooses the normalization that its weights expect."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import keras

from radiograft import storage
from radiograft.backbones import BackboneSpec
from radiograft.backbones.packages import PACKAGES, open_package
from radiograft.backbones.spec import GRAY, NORMALIZATIONS, TORCHXRAYVISION, Normalization, WeightLayout
from radiograft.backbones.weight_fit import WeightFit, fit_folded, fit_keras, fit_keras_file, fit_torch
from radiograft.config.network import AUTO_NORMALIZATION
from radiograft.storage.keras_weights import RESCALING_PREFIX
from radiograft.storage.weight_files import TFLITE, TORCH, WeightFile, read_weight_file

log = logging.getLogger(__name__)

Build = Callable[..., keras.Model]
INPUT_SIDE = 224  # of the network into which weights are loaded; it changes no weight
SOURCES = {TORCH: "PyTorch", TFLITE: "TFLite"}  # without a layout, these fit no network
UNKNOWN_SCALING = "radimagenet"  # in the name of files whose publishers do not say how the input is scaled


class FittedNetwork(NamedTuple):
    """A network, its constructor, how a file fits it, and what the file's weights expect of the input.

    Attributes:
        build: constructor with the arguments of `keras.applications`.
        fit: how the file fits the network.
        family: origin of the file: `keras`, or the name of a layout.
        normalization: of the file's origin; None if the origin does not tell.
    """

    build: Build
    fit: WeightFit
    family: str
    normalization: Normalization | None

    @property
    def channels(self) -> int:
        """Number of channels that the network reads: 3, or 1 for a network for gray images."""
        return int(self.fit.network.input_shape[-1])


@contextlib.contextmanager
def open_weights(weights: str, md5: str = "") -> Iterator[Path]:
    """Yields a local copy of a weight file, of which the checksum is verified.

    Args:
        weights: a path, gs:// or s3:// URI, or the name of an installed package in PACKAGES.
        md5: the MD5 that the file must have; empty to accept any.

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: the package is not installed.
        ValueError: the file has another checksum.
    """
    if weights in PACKAGES:
        with contextlib.ExitStack() as stack:
            try:
                path = stack.enter_context(open_package(weights))
            except ModuleNotFoundError as error:
                raise RuntimeError(str(error)) from error
            _check_md5(weights, path.read_bytes(), md5)
            yield path
        return
    if not storage.is_bucket(weights) and Path(weights).is_dir():
        yield Path(weights)
        return
    content = storage.read_bytes(weights)
    _check_md5(weights, content, md5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PurePosixPath(weights).name
        path.write_bytes(content)
        yield path


def _check_md5(weights: str, content: bytes, md5: str) -> None:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 and digest != md5.lower():
        raise ValueError(
            f"model_weights_md5 must be the MD5 of {weights}: expected {md5}, got {digest}; "
            "the file is different or corrupt"
        )
    log.info("weights from %s, MD5 %s", weights, digest)


def load_pretrained(spec: BackboneSpec, path: Path, normalization: str) -> tuple[FittedNetwork, Normalization]:
    """Loads a weight file into the backbone that it fits.

    Args:
        spec: of the backbone.
        path: of the file.
        normalization: `auto` or a name in NORMALIZATIONS.

    Returns:
        The network with its weights, for images of 1 or 3 channels, and what the weights expect of the input.

    Raises:
        ValueError: the file is corrupt or does not fit, or its normalization is unknown and not given.
    """
    file = read_weight_file(path)
    fitted = fit_backbone(spec, file)
    fitted.fit.set_weights()
    return fitted, choose_normalization(fitted, file, path.name, normalization)


def fit_backbone(spec: BackboneSpec, file: WeightFile) -> FittedNetwork:
    """Returns the variant of a backbone that a file fits best; its weights are not set."""
    variants = [_fit_variant(spec, file, layout) for layout in _layouts(spec, file)]
    if not variants:
        raise ValueError(
            f"its tensors have the names of {SOURCES[file.order]}, but there is no name map from {SOURCES[file.order]} "
            f"to {spec.name}; "
            "give a file of Keras"
        )
    return min(variants, key=lambda fitted: fitted.fit.problems)


def _layouts(spec: BackboneSpec, file: WeightFile) -> list[WeightLayout | None]:
    """Returns the layouts to try; None is Keras's own."""
    if file.order in SOURCES:
        return [layout for layout in spec.layouts if layout.order == file.order]
    names = {layer.name for layer in file.layers}
    marked = [layout for layout in spec.layouts if layout.marker and layout.marker in names]
    others = [layout for layout in spec.layouts if layout.order == file.order and not file.layers]
    return list(marked) or [None, *others]


def _fit_variant(spec: BackboneSpec, file: WeightFile, layout: WeightLayout | None) -> FittedNetwork:
    build = (layout.build if layout else None) or spec.build
    family = layout.family if layout else "keras"
    fit = _fit(build, file, layout, 3)
    if fit.input_channels() == 1:
        fit, family = _fit(build, file, layout, 1), "torchxrayvision" if file.order == TORCH else family
    gray = TORCHXRAYVISION if family == "torchxrayvision" else None
    normalization = layout.normalization if layout else spec.normalization
    return FittedNetwork(build, fit, family, normalization if fit.input_channels() == 3 else gray)


def _fit(build: Build, file: WeightFile, layout: WeightLayout | None, channels: int) -> WeightFit:
    network = build(include_top=False, weights=None, input_shape=(INPUT_SIDE, INPUT_SIDE, channels))
    if layout is None or layout.order != file.order:
        return fit_keras_file(network, file)
    if layout.order == TFLITE:
        return fit_folded(network, file.tensors)
    if layout.order == TORCH:
        return fit_torch(network, layout.names, file.tensors, has_biases=layout.has_biases)
    return fit_keras(network, layout.names, file.tensors)


def choose_normalization(fitted: FittedNetwork, file: WeightFile, name: str, setting: str) -> Normalization:
    """Returns what the weights expect of the input, from the setting, the file itself, or its origin.

    Args:
        fitted: the network that the file fits.
        file: its content.
        name: its name.
        setting: `auto` or a name in NORMALIZATIONS.

    Raises:
        ValueError: the normalization is unknown and must be given, or is for another number of channels.
    """
    if setting != AUTO_NORMALIZATION:
        return NORMALIZATIONS[setting].for_channels(fitted.channels)
    if file.rescaling:
        return from_rescaling(file.rescaling).for_channels(fitted.channels)
    is_normalizing = any(layer.name.startswith(RESCALING_PREFIX) for layer in file.layers)
    if fitted.normalization is None or is_normalizing or UNKNOWN_SCALING in name.lower():
        raise ValueError(
            f"the file does not say how its input is scaled: set model_normalization to {', '.join(NORMALIZATIONS)}"
        )
    return fitted.normalization


def from_rescaling(rescaling: Mapping[str, tuple[float, float]]) -> Normalization:
    """Returns the normalization that layers compute as `image * scale + offset`, by channel, without rounding errors.

    Example:
        >>> from_rescaling({"gray": (2 / 255, -1.0)})
        Normalization(mean=(0.5,), std=(0.5,), channels=('gray',))
    """
    std = tuple(1 / (255 * scale) for scale, _ in rescaling.values())
    mean = tuple(-offset * scale for (_, offset), scale in zip(rescaling.values(), std, strict=True))
    computed = Normalization(mean, std, tuple(rescaling))
    return next((known for known in NORMALIZATIONS.values() if _is_close(known, computed)), computed)


def _is_close(one: Normalization, other: Normalization) -> bool:
    pairs = zip(one.mean + one.std, other.mean + other.std, strict=False)
    return one.channels == other.channels and all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in pairs)


def check_colors(normalization: Normalization, weights: str, image_channels: int) -> None:
    """Raises an error if the network reads gray images and the data set has color.

    Raises:
        ValueError: as above.
    """
    if normalization.channels == GRAY and image_channels != 1:
        raise ValueError(
            f"model_weights must be of a network for color images, but the first layer of {weights} reads one gray "
            "channel; set image_channels=gray, or choose other weights"
        )
