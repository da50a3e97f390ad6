"""The GPU benchmark: its arithmetic, and a run of each backend with a tiny network on the CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.gpu_rates import PUBLISHED, Rate
from tests.benchmarks.gpu_work import FULL, Subject, gflop
from tests.repository import ROOT

NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed; it is in the extra `dev`"
)


def run(backend: str, overrides: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the benchmark in a separate process, in which modules in `overrides` shadow installed ones."""
    environment = {
        **os.environ,
        **NO_GPU,
        "KERAS_BACKEND": backend,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compilation would take longer than the computation
        "PYTHONPATH": os.pathsep.join([str(overrides), *sys.path]),
    }
    command = [sys.executable, "-m", "tests.benchmarks.gpu", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def check_result(result: dict[str, Any], backend: str, names: list[str]) -> None:
    assert result["machine"]["card"] == "the CPU"
    assert backend in result["machine"]
    assert [row["name"] for row in result["rows"]] == names
    for row in result["rows"]:
        assert 0 < row["slowest"] <= row["images_per_second"] <= row["fastest"]
        assert row["tflops"] == pytest.approx(row["images_per_second"] * row["gflop_per_image"] / 1000)
        assert row["share_of_product"] > 0
        assert row["share_of_peak"] is None
    assert [row["images_per_second"] for row in result["published"]] == [3032, 3896, 6581, 10179, 914]


def test_gpu_benchmark_tensorflow_measures_all_workloads(tmp_path: Path) -> None:
    out = tmp_path / "bench" / "gpu.json"
    done = run("tensorflow", tmp_path, "--allow-cpu", "--out", str(out))
    assert done.returncode == 0, done.stderr
    check_result(json.loads(out.read_text()), "tensorflow", ["forward", "cached", "online", "training"])


@needs_jax
def test_gpu_benchmark_jax_without_tensorflow_measures_named_workloads(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ModuleNotFoundError('as if it were not installed')\n")
    done = run("jax", tmp_path, "forward", "cached", "--allow-cpu", "--out", str(tmp_path / "gpu.json"))
    assert done.returncode == 0, done.stderr
    check_result(json.loads((tmp_path / "gpu.json").read_text()), "jax", ["forward", "cached"])


@needs_jax
def test_gpu_benchmark_without_gpu_is_rejected(tmp_path: Path) -> None:
    done = run("jax", tmp_path, "--out", str(tmp_path / "gpu.json"))
    assert done.returncode == 2
    assert "a GPU is required, but jax found none; --allow-cpu runs a tiny network on the CPU as a test" in done.stderr
    assert not (tmp_path / "gpu.json").exists()


def test_gflop_densenet121_equals_published_count() -> None:
    subject = Subject(FULL)
    assert subject.gflop == pytest.approx(2 * 2.83, abs=0.01)  # G multiply-adds; timm counts more layers: 2.87
    assert gflop(subject.network, {"conv1_conv"}) == pytest.approx(2e-9 * 7 * 7 * 3 * 64 * 112 * 112)
    trainable = 3 * 3 * 128 * 32 * 7 * 7 + 1024 * 256 + 256 * 14
    assert subject.gflop_trainable == pytest.approx(2e-9 * trainable)


def test_rate_known_card_has_median_and_shares() -> None:
    rate = Rate.of("forward", "NVIDIA H200", [90.0, 130.0, 100.0], gflop=989.0, how="", product=197.8)
    assert (rate.images_per_second, rate.slowest, rate.fastest) == (100, 90, 130)
    assert (rate.tflops, rate.share_of_peak, rate.share_of_product) == pytest.approx((98.9, 0.1, 0.5))


def test_rate_unknown_card_has_no_share_of_peak() -> None:
    rate = Rate.of("forward", "NVIDIA GeForce RTX 3090 Ti", [100.0], gflop=1.0, how="")
    assert (rate.share_of_peak, rate.share_of_product) == (None, None)


def test_published_rates_have_shares_of_their_cards_peak() -> None:
    assert [f"{rate.share_of_peak:.3f}" for rate in PUBLISHED] == ["0.245", "0.135", "0.229", "0.279", "0.222"]
