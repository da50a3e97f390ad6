"""The batch size is at most the training set."""

from __future__ import annotations

import logging

import pytest

from radiograft.config import FineTune
from radiograft.training.datasets import fit_batch_size


@pytest.mark.parametrize(
    ("images", "replicas", "expected"), [(31, 1, 31), (31, 2, 30), (32, 1, 32), (33, 2, 32), (2, 2, 2)]
)
def test_fit_batch_size_lowers_batch_to_training_set(
    images: int, replicas: int, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    fitted = fit_batch_size(FineTune(train_batch_size=32), images, replicas)
    assert fitted.train_batch_size == expected
    note = f"train_batch_size is lowered from 32 to {expected}, since there are {images} training images"
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [note] * (
        expected < 32
    )


@pytest.mark.parametrize(
    ("images", "replicas", "message"), [(9, 3, "multiple of the number of GPUs"), (1, 2, "at most")]
)
def test_fit_batch_size_that_cannot_be_divided_raises(images: int, replicas: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_batch_size(FineTune(train_batch_size=8 if images > 8 else 4), images, replicas)
