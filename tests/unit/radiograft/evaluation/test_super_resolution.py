"""Scores of super-resolution: energy, PSNR, boxes, paired intervals and the guard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config import Preprocess, SuperResolution
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.super_resolution import (
    _box_mask,
    enlarge,
    high_frequency_energy,
    mean_by_patient,
    psnr,
    score_images,
    shrink_to_pixels,
    summarize_scores,
)
from radiograft.models.super_resolution import build_generator
from radiograft.stages.preprocess import task as preprocess
from radiograft.training import devices
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.super_resolution import GeneratorTraining, train_generator


def scores(gains: list[float], energies: list[float]) -> pd.DataFrame:
    """Returns two images of each patient: bicubic has 30 dB, projected 31, ours 31 and the gain."""
    rows = []
    for number, (gain, energy) in enumerate(zip(gains, energies, strict=True)):
        for method, value in (("ours", 31 + gain), ("projected", 31.0), ("bicubic", 30.0)):
            keys = {"image_id": f"{number}.png", "patient_id": f"p{number // 2}", "method": method}
            measured = {"psnr": value, "ssim": 0.9, "ms_ssim": 0.9, "energy_ratio": 0.5, "energy": energy}
            rows.append({**keys, **measured, "psnr_inside": value - 2 if number == 0 else np.nan,
                         "psnr_outside": value if number == 0 else np.nan})  # fmt: skip
    return pd.DataFrame(rows)


def test_summarize_scores_pairs_the_methods_by_image() -> None:
    results = summarize_scores(scores([1.0, 1.0, 2.0, 2.0], [1, 1, 1, 1]), 5.0, "test", 200, 0)
    gain = results["metrics"]["psnr"]["projected"]["difference"]
    assert gain is not None
    assert gain["value"] == pytest.approx(1.5)
    assert gain["low"] == pytest.approx(1.0)
    assert gain["high"] == pytest.approx(2.0)
    assert results["metrics"]["psnr"]["ours"]["difference"] is None
    assert (results["n_images"], results["n_patients"]) == (4, 2)


def test_summarize_scores_flags_images_above_the_guard_only() -> None:
    results = summarize_scores(scores([0, 0, 0, 0], [1, 6, 5, 9]), 5.0, "test", 50, 0)
    assert results["flagged"] == ["1.png", "3.png"]


def test_summarize_scores_reports_boxes_separately() -> None:
    results = summarize_scores(scores([1.0, 0.0], [1, 1]), 5.0, "test", 50, 0)
    assert results["n_images_with_boxes"] == 1
    assert results["inside_boxes"] is not None
    assert results["outside_boxes"] is not None
    assert results["inside_boxes"]["ours"]["value"] == 30.0
    assert results["outside_boxes"]["ours"]["value"] == 32.0


def test_summarize_scores_without_boxes_reports_none() -> None:
    table = scores([0, 0], [1, 1]).assign(psnr_inside=np.nan, psnr_outside=np.nan)
    assert summarize_scores(table, 5.0, "test", 50, 0)["inside_boxes"] is None


def test_mean_by_patient_single_patient_has_no_interval() -> None:
    assert mean_by_patient(np.array([1.0, 3.0]), ["a", "a"], 100, 0) == {"value": 2.0, "low": None, "high": None}


@given(seed=st.integers(0, 1000), scale=st.sampled_from([2, 4]))
@settings(max_examples=20, deadline=None)
def test_high_frequency_energy_of_flat_and_of_noisy_images(seed: int, scale: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 10, (1, 16, 16, 1))
    energy = high_frequency_energy(100 + noise, scale)[0]
    assert 0 < energy <= np.square(noise).mean() + 1e-9
    assert high_frequency_energy(np.full((1, 16, 16, 1), 100.0), scale)[0] == pytest.approx(0, abs=1e-9)


def test_psnr_of_known_error() -> None:
    assert psnr(np.full((4, 4), 10), np.full((4, 4), 15)) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(np.ones(3), np.ones(3)) == 100.0


def test_box_mask_covers_the_box() -> None:
    boxes = pd.DataFrame({"x": [0.25], "y": [0.5], "width": [0.5], "height": [0.25]})
    mask = _box_mask(boxes, 8)
    assert mask.sum() == 4 * 2
    assert mask[4:6, 2:6].all()


def test_enlarge_untrained_generator_gives_the_projected_image() -> None:
    real = np.random.default_rng(0).integers(100, 150, (1, 32, 32, 1), dtype="uint8")
    small = shrink_to_pixels(real, 2)
    images = enlarge(build_generator(2, filters=4, blocks=1), small, 2)
    np.testing.assert_array_equal(images["ours"], images["projected"])
    assert images["bicubic"].shape == (1, 32, 32, 1)
    np.testing.assert_allclose(shrink_to_pixels(images["ours"], 2).astype(int), small, atol=1)


def test_tiny_generator_beats_bicubic_on_every_held_out_image(catalog_folder: Path, tmp_path: Path) -> None:
    """Trains for 200 steps on the synthetic sample; it has no patient in common with the test images."""
    preprocess.run(Preprocess(image_size=64, image_augmentation="none"), catalog_folder, tmp_path)
    images = Shards.read(tmp_path)
    chosen = SuperResolution(
        model_generator_filters=12, model_generator_blocks=2, train_generator_crop=16,
        train_generator_learning_rate=2e-3, train_pixel_steps=200,
    )  # fmt: skip
    devices.make_reproducible(0)
    training = GeneratorTraining(chosen, 8, 1, tf.distribute.get_strategy())
    generator, rows = train_generator(training, images, Checkpoints(""))
    found = score_images(generator, images, "test", 2)
    ours, bicubic, projected = (
        found[found["method"] == name]["psnr"].to_numpy() for name in ("ours", "bicubic", "projected")
    )
    assert len(ours) == len(images.split("test"))
    assert (ours > bicubic).all()
    assert ours.mean() > projected.mean()
    assert rows[-1]["step"] == 200
