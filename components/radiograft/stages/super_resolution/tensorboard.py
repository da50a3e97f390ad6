"""TensorBoard logs of super-resolution: losses, validation PSNR and image triplets."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.super_resolution import BICUBIC, OURS, enlarge, psnr, shrink_to_pixels
from radiograft.training.super_resolution import Losses

IMAGES = 4  # of validation


class TensorBoardWatcher:
    """Measures PSNR on a few validation images at each checkpoint, and writes it with the losses and the images.

    An image shows bicubic interpolation, super-resolution and the real image side by side.
    """

    def __init__(self, folder: Path, data: Shards, scale: int) -> None:
        self.writer = tf.summary.create_file_writer(str(folder))
        self.scale = scale
        self.real = [image[None] for image in data.chosen("validation", range(IMAGES)).as_numpy_iterator()]

    def validate(self, generator: keras.Model) -> Losses:
        """Returns the mean PSNR in dB of super-resolution and bicubic interpolation."""
        self._panels, scores = list[np.ndarray](), list[tuple[float, float]]()
        for real in self.real:
            made = enlarge(generator, shrink_to_pixels(real, self.scale), self.scale, (OURS, BICUBIC))
            scores.append((psnr(made[OURS], real), psnr(made[BICUBIC], real)))
            self._panels.append(np.concatenate([made[BICUBIC], made[OURS], real], axis=2))
        ours, bicubic = np.mean(scores, axis=0).tolist()
        return {"validation_psnr": ours, "validation_psnr_bicubic": bicubic}

    def record(self, row: Losses, *, restored: bool) -> None:
        """Writes the losses and metrics of a row, and, unless it is restored from a checkpoint, the images."""
        step = int(row["step"])
        with self.writer.as_default():
            for name, value in row.items():
                if name != "step":
                    tf.summary.scalar(f"super_resolution/{name}", value, step=step)
            if not restored:
                panels = np.concatenate(self._panels)
                tf.summary.image("bicubic, super-resolution, real", panels, step=step, max_outputs=IMAGES)
        self.writer.flush()
