"""Image corruptions of five severities, as MedMNIST-C defines them (Di Salvo, Doerrich and Ledig 2024).

The definitions and parameters are those of the package medmnistc, which needs PyTorch, OpenCV and ImageMagick, rebuilt
on NumPy, SciPy and Pillow. Stains and letters are drawn here, so their shapes differ. The random numbers depend on
corruption, seed and image, not on the severity. Severities therefore share one pattern, and differ only in strength.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from radiograft.imaging import artifacts, blurs
from radiograft.imaging.blurs import to_bytes
from radiograft.imaging.corruption_sets import Strength


def corrupt(image: np.ndarray, corruption: str, parameter: Strength, key: str, seed: int = 0) -> np.ndarray:
    """Returns a corrupted copy of an image.

    Args:
        image: uint8 [height, width, channels] with 1 or 3 channels.
        corruption: name of the corruption, see `radiograft.imaging.corruption_sets.CORRUPTIONS`.
        parameter: its strength, such as `CORRUPTIONS["chestmnist"]["gaussian_noise"][0]`.
        key: identifies the image. Equal keys and seeds give equal results.
        seed: seed of the noise, 0 or more.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: the corruption is unknown, or the image has another dtype or shape.

    Example:
        >>> corrupt(np.full((2, 2, 1), 100, np.uint8), "brightness_up", 1.1, "1.png").ravel().tolist()
        [110, 110, 110, 110]
    """
    if corruption not in _FUNCTIONS:
        raise ValueError(f"corruption must be one of {', '.join(_FUNCTIONS)}, got {corruption!r}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"image must be uint8 [height, width, 1 or 3], got {image.dtype} {list(image.shape)}")
    digest = hashlib.sha256(f"{seed}/{corruption}/{key}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:16], "big"))
    return _FUNCTIONS[corruption](image, parameter, generator)


def _to_pillow(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def _from_pillow(pillow_image: Image.Image) -> np.ndarray:
    pixels = np.asarray(pillow_image)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _pixelate(image: np.ndarray, factor: float, _: np.random.Generator) -> np.ndarray:
    original = _to_pillow(image)
    small = (max(1, int(original.width * factor)), max(1, int(original.height * factor)))
    shrunk = original.resize(small, Image.Resampling.BOX)
    return _from_pillow(shrunk.resize(original.size, Image.Resampling.BOX))


def _jpeg(image: np.ndarray, quality: float, _: np.random.Generator) -> np.ndarray:
    content = io.BytesIO()
    _to_pillow(image).save(content, "JPEG", quality=int(quality))
    with Image.open(content) as compressed:
        return _from_pillow(compressed)


def _gaussian_noise(image: np.ndarray, scale: float, generator: np.random.Generator) -> np.ndarray:
    return to_bytes(image / 255 + scale * generator.standard_normal(image.shape))


def _speckle_noise(image: np.ndarray, scale: float, generator: np.random.Generator) -> np.ndarray:
    return to_bytes(image / 255 * (1 + scale * generator.standard_normal(image.shape)))


def _shot_noise(image: np.ndarray, photons: float, generator: np.random.Generator) -> np.ndarray:
    return to_bytes(generator.poisson(image / 255 * photons) / photons)


def _impulse_noise(image: np.ndarray, amount: float, generator: np.random.Generator) -> np.ndarray:
    """Replaces a share of the values by black and white, in equal parts."""
    chances, white = generator.random(image.shape), generator.random(image.shape) < 0.5
    replaced: np.ndarray = np.where(chances < amount, np.where(white, 255, 0), image).astype(np.uint8)
    return replaced


def _brightness(image: np.ndarray, factor: float, _: np.random.Generator) -> np.ndarray:
    return _from_pillow(ImageEnhance.Brightness(_to_pillow(image)).enhance(factor))


def _contrast(image: np.ndarray, factor: float, _: np.random.Generator) -> np.ndarray:
    return _from_pillow(ImageEnhance.Contrast(_to_pillow(image)).enhance(factor))


def _gamma(image: np.ndarray, gamma: float, _: np.random.Generator) -> np.ndarray:
    corrected: np.ndarray = _gamma_table(gamma)[image]
    return corrected


@functools.cache
def _gamma_table(gamma: float) -> np.ndarray:
    """Returns torchvision's table: values are cut off below 256, which makes every level equally wide."""
    return ((255 + 1 - 1e-3) * (np.arange(256) / 255) ** gamma).astype(np.uint8)


def _saturate(image: np.ndarray, amount: float, _: np.random.Generator) -> np.ndarray:
    """Adds to the saturation of HSV and keeps hue and value. The hue of gray is red, as in scikit-image."""
    if image.shape[2] == 1:
        return image
    value = image.max(axis=2, keepdims=True) / 255
    chroma = value - image / 255  # of each channel; value times saturation for the smallest
    largest = chroma.max(axis=2, keepdims=True)
    shares = np.where(largest > 0, chroma / np.where(largest > 0, largest, 1), [0.0, 1.0, 1.0])
    saturation = np.divide(largest, value, out=np.zeros_like(value), where=value > 0)
    return to_bytes(value - value * np.clip(saturation + amount, 0, 1) * shares)


_FUNCTIONS: Mapping[str, Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]] = {
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg,
    "gaussian_noise": _gaussian_noise,
    "speckle_noise": _speckle_noise,
    "impulse_noise": _impulse_noise,
    "shot_noise": _shot_noise,
    "gaussian_blur": blurs.blur_gaussian,
    "defocus_blur": blurs.blur_defocus,
    "motion_blur": blurs.blur_motion,
    "zoom_blur": blurs.blur_zoom,
    "brightness_up": _brightness,
    "brightness_down": _brightness,
    "contrast_up": _contrast,
    "contrast_down": _contrast,
    "gamma_corr_up": _gamma,
    "gamma_corr_down": _gamma,
    "saturate": _saturate,
    "stain_deposit": artifacts.add_stains,
    "bubble": artifacts.add_bubbles,
    "black_corner": artifacts.blacken_corners,
    "characters": artifacts.add_characters,
}
