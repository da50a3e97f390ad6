"""The course of a training as TensorBoard scalars."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

VALIDATION = "val_"


class TensorBoardCurves:
    """Writes the rows of a History as TensorBoard scalars, one run for training and one for validation."""

    def __init__(self, folder: Path) -> None:
        self.writers = {run: tf.summary.create_file_writer(str(folder / run)) for run in ("train", "validation")}

    def add(self, row: dict[str, float]) -> None:
        """Writes the metrics of one epoch; epochs are counted from 1."""
        for name, value in row.items():
            if name != "epoch":
                with self.writers["validation" if name.startswith(VALIDATION) else "train"].as_default():
                    tf.summary.scalar(f"epoch_{name.removeprefix(VALIDATION)}", value, step=int(row["epoch"]))

    def close(self) -> None:
        """Flushes and closes the files."""
        for writer in self.writers.values():
            writer.close()
