"""Measured and published rates as shares of the GPU's peak: peaks of GPUs and timm's results."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

# Dense bfloat16 tensor core TFLOP/s with float32 accumulation, by the driver's name of the GPU. Sources: NVIDIA's data
# sheets of H100, H200 and A100, and its white papers on the GA102, Ada and RTX Blackwell architectures.
PEAKS = {
    "NVIDIA H200": 989.0,
    "NVIDIA H100 80GB HBM3": 989.0,
    "NVIDIA H100 PCIe": 756.0,
    "NVIDIA A100-SXM4-80GB": 312.0,
    "NVIDIA A100-SXM4-40GB": 312.0,
    "NVIDIA A100 80GB PCIe": 312.0,
    "NVIDIA A100-PCIE-40GB": 312.0,
    "NVIDIA GeForce RTX 5090": 209.5,
    "NVIDIA GeForce RTX 4090": 165.2,
    "NVIDIA GeForce RTX 3090": 71.0,
}


@dataclasses.dataclass(frozen=True)
class Rate:
    """Images per second, with the `slowest` and `fastest` window, and the arithmetic throughput.

    `share_of_peak` is None if the peak of the card is unknown, `share_of_product` if no matrix product was measured.
    """

    name: str
    card: str
    batch_size: int | None
    images_per_second: float
    slowest: float
    fastest: float
    gflop_per_image: float
    tflops: float
    share_of_peak: float | None
    share_of_product: float | None
    how: str

    @classmethod
    def of(
        cls,
        name: str,
        card: str,
        windows: Sequence[float],
        *,
        gflop: float,
        how: str,
        batch_size: int | None = None,
        product: float | None = None,
    ) -> Rate:
        """Takes the median of the windows (images per second) and its shares of the peak and of `product` TFLOP/s."""
        rate, peak = statistics.median(windows), PEAKS.get(card)
        tflops = rate * gflop / 1000
        return cls(
            name=name,
            card=card,
            batch_size=batch_size,
            images_per_second=rate,
            slowest=min(windows),
            fastest=max(windows),
            gflop_per_image=gflop,
            tflops=tflops,
            share_of_peak=tflops / peak if peak else None,
            share_of_product=tflops / product if product else None,
            how=how,
        )


GFLOP = 5.74  # DenseNet-121 forward pass at 224 px: timm counts 2.87 G multiply-adds, two operations each
HOW = "timm's published result: DenseNet-121 at 224 px in mixed precision on PyTorch"
PUBLISHED = [
    Rate.of("forward", "NVIDIA GeForce RTX 3090", [3032.0], gflop=GFLOP, how=HOW),
    Rate.of("forward", "NVIDIA GeForce RTX 4090", [3896.0], gflop=GFLOP, how=f"{HOW}, eager"),
    Rate.of("forward", "NVIDIA GeForce RTX 4090", [6581.0], gflop=GFLOP, how=f"{HOW}, compiled"),
    Rate.of("forward", "NVIDIA GeForce RTX 5090", [10179.0], gflop=GFLOP, how=f"{HOW}, compiled"),
    Rate.of("training", "NVIDIA GeForce RTX 3090", [914.0], gflop=3 * GFLOP, how=HOW),
]
