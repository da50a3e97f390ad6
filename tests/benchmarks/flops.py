"""Arithmetic throughput of the DenseNet-121 forward pass, compared with matrix multiplication."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from radiograft.models.backbone import build_backbone
from radiograft.models.heads import build_feature_extractor
from tests.benchmarks.films import SIDE
from tests.benchmarks.row import Row
from tests.benchmarks.timing import taking_turns

GFLOP_PER_IMAGE = 5.74  # at 224 px: 2.87 G multiply-adds, two operations each
IMAGES = 32
MATRIX = 3072  # rows and columns: larger than the caches, about 0.5 s at 100 GFLOP/s
REPEATS = 7


def measure(work: Path) -> list[Row]:
    """Measures GFLOP/s of both in float32 on data in memory."""
    random = tf.random.Generator.from_seed(0)
    images = tf.cast(random.uniform([IMAGES, SIDE, SIDE, 1], 0, 256, tf.int32), tf.uint8)
    matrix = random.normal([MATRIX, MATRIX])
    model = build_feature_extractor(build_backbone("densenet121", "none", "", SIDE))
    forward = tf.function(lambda: model(images, training=False))
    multiply = tf.function(lambda: tf.linalg.matmul(matrix, matrix))
    for work_once in (forward, multiply):
        work_once()
    forward_seconds, multiply_seconds = taking_turns(
        lambda: forward().numpy(), lambda: multiply()[0, 0].numpy(), REPEATS
    )
    how = (
        f"DenseNet-121 forward at {SIDE} px, batch {IMAGES}, {GFLOP_PER_IMAGE} GFLOP per image, compared with a "
        f"float32 product of {MATRIX} x {MATRIX} matrices; median of {REPEATS}."
    )
    ours, theirs = IMAGES * GFLOP_PER_IMAGE / forward_seconds, 2e-9 * MATRIX**3 / multiply_seconds
    return [Row.share("flops", ours, theirs, unit="GFLOP/s", how=how)]
