"""Training curves for TensorBoard, with the tags that Keras gives them, one run for training and one for validation."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

VALIDATION = "val_"


class Curves:
    """Writes rows of a History below a folder as they come."""

    def __init__(self, folder: Path) -> None:
        self.writers = {run: tf.summary.create_file_writer(str(folder / run)) for run in ("train", "validation")}

    def add(self, row: dict[str, float]) -> None:
        """Adds an epoch; steps count from 1, as the log counts epochs: 0 is the state before training."""
        for name, value in row.items():
            if name != "epoch":
                with self.writers["validation" if name.startswith(VALIDATION) else "train"].as_default():
                    tf.summary.scalar(f"epoch_{name.removeprefix(VALIDATION)}", value, step=int(row["epoch"]))

    def close(self) -> None:
        """Writes out what is still in memory."""
        for writer in self.writers.values():
            writer.close()
