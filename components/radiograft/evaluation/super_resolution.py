"""Evaluates super-resolution on held-out patients, against bicubic interpolation and the same with projection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import keras
import numpy as np
import pandas as pd
import scipy.fft
import tensorflow as tf

from radiograft.config.super_resolution import SuperResolution
from radiograft.data.catalog import CORNERS
from radiograft.data.shards.dataset import Shards
from radiograft.metrics.bootstrap import NOT_ESTIMABLE, bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.models.super_resolution import WHITE, enlarge_bicubic, project, shrink, to_pixels
from radiograft.registry.result_types import Estimate

OURS, BICUBIC, PROJECTED, REAL = "ours", "bicubic", "projected", "real"
METHODS = (OURS, PROJECTED, BICUBIC)
METRICS = ("psnr", "ssim", "ms_ssim", "energy_ratio")
MAX_PSNR = 100.0  # dB, of equal images
SSIM_WINDOW = 11  # pixels
# Weights of the scales of MS-SSIM (Wang et al. 2003). Images that are too small for all use the first ones.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
GUARD_PERCENTILE = 99.0  # of real validation images


class MethodScore(TypedDict):
    """Mean of a metric over the images, and ours minus this one, with 95 % intervals by patient (paired)."""

    mean: Estimate
    difference: Estimate | None


class SuperResolutionResults(TypedDict):
    """Evaluation of a generator on one split.

    `metrics` has a MethodScore by metric and method. `inside_boxes` and `outside_boxes` are the PSNR by method, None
    without boxes. `guard` is the high-frequency energy above which an enlarged image is flagged.
    """

    split: str
    n_images: int
    n_patients: int
    metrics: dict[str, dict[str, MethodScore]]
    inside_boxes: dict[str, Estimate] | None
    outside_boxes: dict[str, Estimate] | None
    n_images_with_boxes: int
    guard: float
    flagged: list[str]


def enlarge(
    generator: keras.Model, small: np.ndarray, scale: int, methods: Sequence[str] = METHODS
) -> dict[str, np.ndarray]:
    """Enlarges images by each of the methods.

    Args:
        generator: see `radiograft.models.super_resolution.build_generator`.
        small: uint8 [n, height, width, channels].
        scale: of the generator.
        methods: some of METHODS.

    Returns:
        uint8 [n, height x scale, width x scale, channels] by method.
    """
    bicubic = enlarge_bicubic(small, scale)
    enlargers: dict[str, Callable[[], Any]] = {
        OURS: lambda: generator(tf.cast(small, tf.float32), training=False),
        PROJECTED: lambda: project(bicubic, small, scale),
        BICUBIC: lambda: bicubic,
    }
    return {name: np.asarray(to_pixels(enlargers[name]())) for name in methods}


def shrink_to_pixels(images: np.ndarray, scale: int) -> np.ndarray:
    """Shrinks uint8 images [n, height, width, channels] as preprocess does, to uint8."""
    return np.asarray(to_pixels(shrink(images, scale)))


def high_frequency_energy(images: np.ndarray, scale: int) -> np.ndarray:
    """Returns the energy of each image above the highest frequency of the shrunk image, in squared gray levels, [n].

    It is a mean over pixels. The cosine transform, unlike Fourier's, adds no edges at the borders.

    Args:
        images: [n, height, width, channels].
        scale: ratio of the sides.

    Example:
        >>> stripes = np.tile([100.0, 110.0], (1, 8, 4))[..., None]
        >>> bool(high_frequency_energy(stripes, 2)[0] > 20)
        True
    """
    spectrum = scipy.fft.dctn(np.asarray(images, "float64"), axes=(1, 2), norm="ortho")
    spectrum[:, : spectrum.shape[1] // scale, : spectrum.shape[2] // scale] = 0
    energy: np.ndarray = np.square(spectrum).mean(axis=(1, 2, 3))
    return energy


def score_images(
    generator: keras.Model, data: Shards, split: str, scale: int, methods: Sequence[str] = METHODS
) -> pd.DataFrame:
    """Scores each image of a split, enlarged by each method after it was shrunk, against the image itself.

    Returns:
        A row an image and method: image_id, patient_id, method, psnr in dB, ssim, ms_ssim, energy (at high
        frequencies), energy_ratio (relative to that of the real image), and psnr_inside and psnr_outside its boxes,
        NaN without boxes.
    """
    rows, boxes = data.split(split), data.boxes.groupby("image_id")
    known = set(boxes.groups)
    scores = list[dict[str, object]]()
    images = data.images(split, 1).as_numpy_iterator()
    for real, image_id, patient in zip(images, rows["image_id"], rows["patient_id"], strict=True):
        energy = float(high_frequency_energy(real, scale)[0])
        inside = _box_mask(boxes.get_group(image_id), data.image_size) if image_id in known else None
        for method, enlarged in enlarge(generator, shrink_to_pixels(real, scale), scale, methods).items():
            keys = {"image_id": image_id, "patient_id": patient, "method": method}
            scores.append({**keys, **_score(enlarged, real, scale, energy), **_score_boxes(enlarged, real, inside)})
    return pd.DataFrame(scores)


def _score(enlarged: np.ndarray, real: np.ndarray, scale: int, real_energy: float) -> dict[str, float]:
    energy = float(high_frequency_energy(enlarged, scale)[0])
    side, count = min(real.shape[1:3]), len(SCALE_WEIGHTS)
    while count > 1 and side // 2 ** (count - 1) < SSIM_WINDOW:
        count -= 1
    weights = np.array(SCALE_WEIGHTS[:count]) / sum(SCALE_WEIGHTS[:count])
    return {
        "psnr": psnr(enlarged, real),
        "ssim": float(tf.image.ssim(enlarged, real, 255, SSIM_WINDOW)[0]),
        "ms_ssim": float(tf.image.ssim_multiscale(enlarged, real, 255, weights.tolist(), SSIM_WINDOW)[0]),
        "energy": energy,
        "energy_ratio": energy / max(real_energy, 1e-9),
    }


def psnr(images: np.ndarray, others: np.ndarray) -> float:
    """Returns the peak signal-to-noise ratio of 8-bit values in dB, at most 100.

    Example:
        >>> round(psnr(np.array([0, 10]), np.array([0, 0])), 2)
        31.14
    """
    error = float(np.square(np.asarray(images, "float64") - np.asarray(others, "float64")).mean())
    return min(MAX_PSNR, 10 * float(np.log10(WHITE**2 / error))) if error else MAX_PSNR


def _score_boxes(enlarged: np.ndarray, real: np.ndarray, inside: np.ndarray | None) -> dict[str, float]:
    if inside is None or inside.all() or not inside.any():
        return {"psnr_inside": float("nan"), "psnr_outside": float("nan")}
    return {
        "psnr_inside": psnr(enlarged[0][inside], real[0][inside]),
        "psnr_outside": psnr(enlarged[0][~inside], real[0][~inside]),
    }


def _box_mask(boxes: pd.DataFrame, size: int) -> np.ndarray:
    """Returns which pixels are inside boxes, bool [size, size]."""
    mask = np.zeros((size, size), dtype=bool)
    for x, y, width, height in boxes[CORNERS].to_numpy() * size:
        mask[int(y) : int(np.ceil(y + height)), int(x) : int(np.ceil(x + width))] = True
    return mask


def fit_guard(data: Shards, settings: SuperResolution) -> float:
    """Returns the high-frequency energy that few real validation images exceed, in squared gray levels."""
    batches = data.images("validation", 1).as_numpy_iterator()
    energies = [high_frequency_energy(batch, settings.model_scale) for batch in batches]
    return float(np.percentile(np.concatenate(energies), GUARD_PERCENTILE))


def summarize_scores(scores: pd.DataFrame, guard: float, split: str, samples: int, seed: int) -> SuperResolutionResults:
    """Summarizes what `score_images` returned, with intervals that resample patients.

    Args:
        scores: a row an image and method.
        guard: from `fit_guard`.
        split: its name.
        samples: number of resamples.
        seed: of the resamples; all methods use the same ones.
    """
    ours = scores[scores["method"] == OURS]
    boxed = scores[scores["psnr_inside"].notna()]
    flagged = ours["image_id"][ours["energy"] > guard]
    return SuperResolutionResults(
        split=split,
        n_images=len(ours),
        n_patients=ours["patient_id"].nunique(),
        metrics={
            metric: {method: _method_score(scores, metric, method, samples, seed) for method in METHODS}
            for metric in METRICS
        },
        inside_boxes=_by_method(boxed, "psnr_inside", samples, seed),
        outside_boxes=_by_method(boxed, "psnr_outside", samples, seed),
        n_images_with_boxes=boxed["image_id"].nunique(),
        guard=guard,
        flagged=flagged.tolist(),
    )


def _by_method(scores: pd.DataFrame, column: str, samples: int, seed: int) -> dict[str, Estimate] | None:
    if scores.empty:
        return None
    return {method: _method_score(scores, column, method, samples, seed)["mean"] for method in METHODS}


def _method_score(scores: pd.DataFrame, metric: str, method: str, samples: int, seed: int) -> MethodScore:
    tables = {name: scores[scores["method"] == name].reset_index(drop=True) for name in (OURS, method)}
    values = tables[method][metric].to_numpy("float64")
    patients = list(tables[method]["patient_id"])
    difference = tables[OURS][metric].to_numpy("float64") - values
    return MethodScore(
        mean=mean_by_patient(values, patients, samples, seed),
        difference=None if method == OURS else mean_by_patient(difference, patients, samples, seed),
    )


def mean_by_patient(values: np.ndarray, patients: list[str], samples: int, seed: int) -> Estimate:
    """Returns the mean over images with a 95 % interval that resamples patients."""
    codes = encode_patients(patients)
    resampled = bootstrap_by_patient(codes, lambda weights: weights @ values / weights.sum(axis=1), samples, seed)
    return percentile_interval(resampled, lambda value: {**NOT_ESTIMABLE, "value": value})
