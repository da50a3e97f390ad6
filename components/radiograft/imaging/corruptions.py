"""Image corruptions of five severities, as MedMNIST-C defines them (Di Salvo, Doerrich and Ledig 2024).

The definitions and parameters are those of the package medmnistc, which needs PyTorch, rebuilt on NumPy, SciPy and
Pillow. The random numbers of a corruption depend on seed and image, not on the severity. Its severities therefore share
one noise pattern, and differ only in strength.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageEnhance
from scipy.ndimage import correlate1d

SEVERITIES = (1, 2, 3, 4, 5)
CLEAN = 0  # severity of the image itself
DESIGN_SIZE = 224  # pixels; the parameters were chosen for images of this size
Parameters = Mapping[str, tuple[float, ...]]

_UP, _DOWN = (1.1, 1.2, 1.3, 1.4, 1.6), (0.9, 0.8, 0.7, 0.6, 0.4)
_CHEST: Parameters = {
    "pixelate": (0.30, 0.25, 0.20, 0.15, 0.10),
    "jpeg_compression": (50, 30, 15, 10, 7),
    "gaussian_noise": (0.04, 0.08, 0.12, 0.18, 0.26),
    "speckle_noise": (0.05, 0.15, 0.2, 0.35, 0.45),
    "impulse_noise": (0.01, 0.03, 0.06, 0.09, 0.17),
    "shot_noise": (60, 25, 18, 10, 5),
    "gaussian_blur": (3, 5, 7, 9, 11),
    "brightness_up": (1.1, 1.2, 1.3, 1.4, 1.5),
    "brightness_down": (0.9, 0.8, 0.7, 0.6, 0.5),
    "contrast_up": _UP,
    "contrast_down": _DOWN,
    "gamma_corr_up": _UP,
    "gamma_corr_down": _DOWN,
}
# The parameter of each severity by the name of the corruption. The sets of color images are missing: they also have
# motion blur by ImageMagick and drawn artifacts, such as bubbles.
CORRUPTIONS: Mapping[str, Parameters] = {
    "chestmnist": _CHEST,
    "pneumoniamnist": {
        **_CHEST,
        "pixelate": (0.8, 0.7, 0.6, 0.5, 0.40),
        "gaussian_noise": (0.04, 0.05, 0.06, 0.07, 0.08),
        "speckle_noise": (0.05, 0.07, 0.10, 0.15, 0.20),
        "impulse_noise": (0.005, 0.01, 0.013, 0.017, 0.02),
        "shot_noise": (300, 200, 150, 100, 80),
    },
    "organmnist": {
        **_CHEST,
        "pixelate": (0.7, 0.6, 0.5, 0.40, 0.35),
        "gaussian_noise": (0.04, 0.08, 0.12, 0.16, 0.20),
        "speckle_noise": (0.05, 0.10, 0.20, 0.30, 0.40),
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.08),
        "shot_noise": (200, 100, 50, 25, 15),
        "gaussian_blur": (11, 13, 15, 17, 21),
        "brightness_up": (1.2, 1.3, 1.4, 1.5, 1.6),
        "brightness_down": (0.8, 0.75, 0.7, 0.65, 0.60),
        "contrast_up": (1.3, 1.4, 1.6, 1.7, 1.8),
        "contrast_down": (0.8, 0.7, 0.6, 0.55, 0.5),
        "gamma_corr_up": (1.3, 1.4, 1.6, 1.8, 2.0),
    },
    "tissuemnist": {
        "pixelate": (0.40, 0.30, 0.20, 0.15, 0.10),
        "jpeg_compression": (25, 20, 15, 10, 7),
        "impulse_noise": (0.01, 0.015, 0.02, 0.025, 0.03),
        "gaussian_blur": (13, 15, 17, 21, 25),
        "brightness_up": (1.3, 1.4, 1.5, 1.6, 1.7),
        "brightness_down": (0.8, 0.7, 0.6, 0.5, 0.4),
        "contrast_up": _UP,
        "contrast_down": _DOWN,
    },
}


def corrupt(image: np.ndarray, corruption: str, parameter: float, key: str, seed: int = 0) -> np.ndarray:
    """Returns a corrupted copy of an image.

    Args:
        image: uint8 [height, width, channels] with 1 or 3 channels.
        corruption: name of the corruption, see CORRUPTIONS.
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


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Converts 0 to 1 to uint8. Fractions are cut off as in medmnistc; 1e-9 keeps exact values such as 0.1 * 255."""
    pixels: np.ndarray = (np.clip(values, 0, 1) * 255 + 1e-9).astype(np.uint8)
    return pixels


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
    return _to_bytes(image / 255 + scale * generator.standard_normal(image.shape))


def _speckle_noise(image: np.ndarray, scale: float, generator: np.random.Generator) -> np.ndarray:
    return _to_bytes(image / 255 * (1 + scale * generator.standard_normal(image.shape)))


def _shot_noise(image: np.ndarray, photons: float, generator: np.random.Generator) -> np.ndarray:
    return _to_bytes(generator.poisson(image / 255 * photons) / photons)


def _impulse_noise(image: np.ndarray, amount: float, generator: np.random.Generator) -> np.ndarray:
    """Replaces a share of the values by black and white, in equal parts."""
    chances, white = generator.random(image.shape), generator.random(image.shape) < 0.5
    replaced: np.ndarray = np.where(chances < amount, np.where(white, 255, 0), image).astype(np.uint8)
    return replaced


def _gaussian_blur(image: np.ndarray, kernel_size: float, _: np.random.Generator) -> np.ndarray:
    """Blurs as torchvision does, with the standard deviation that it derives from the kernel size."""
    radius = (int(kernel_size) - 1) / 2
    sigma = 0.3 * (radius - 1) + 0.8
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    blurred = image.astype(np.float64)
    for axis in (0, 1):
        blurred = correlate1d(blurred, kernel, axis, mode="mirror")
    rounded: np.ndarray = np.clip(np.round(blurred), 0, 255).astype(np.uint8)
    return rounded


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


_FUNCTIONS: Mapping[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg,
    "gaussian_noise": _gaussian_noise,
    "speckle_noise": _speckle_noise,
    "impulse_noise": _impulse_noise,
    "shot_noise": _shot_noise,
    "gaussian_blur": _gaussian_blur,
    "brightness_up": _brightness,
    "brightness_down": _brightness,
    "contrast_up": _contrast,
    "contrast_down": _contrast,
    "gamma_corr_up": _gamma,
    "gamma_corr_down": _gamma,
}
