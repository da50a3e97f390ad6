"""The GPU benchmark: its arithmetic, and that it runs on either backend, on a tiny network where there is no GPU."""

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
    importlib.util.find_spec("jax") is None, reason="jax is not installed; the extra `dev` brings it"
)


def run(backend: str, hiding: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The benchmark in a process of its own, where modules in `hiding` come before those installed."""
    environment = {
        **os.environ,
        **NO_GPU,
        "KERAS_BACKEND": backend,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling takes longer than computing here
        "PYTHONPATH": str(hiding),
    }
    command = [sys.executable, "-m", "tests.benchmarks.gpu", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def check(found: dict[str, Any], backend: str, names: list[str]) -> None:
    assert found["machine"]["card"] == "the CPU"
    assert backend in found["machine"]
    assert [row["name"] for row in found["rows"]] == names
    for row in found["rows"]:
        assert 0 < row["slowest"] <= row["images_per_second"] <= row["fastest"]
        assert row["tflops"] == pytest.approx(row["images_per_second"] * row["gflop_per_image"] / 1000)
        assert row["share_of_product"] > 0
        assert row["share_of_peak"] is None
    assert [row["images_per_second"] for row in found["published"]] == [3032, 3896, 6581, 10179, 914]


def test_all_of_it_runs_on_tensorflow(tmp_path: Path) -> None:
    out = tmp_path / "bench" / "gpu.json"
    done = run("tensorflow", tmp_path, "--allow-cpu", "--out", str(out))
    assert done.returncode == 0, done.stderr
    check(json.loads(out.read_text()), "tensorflow", ["forward", "cached", "online", "training"])


@needs_jax
def test_it_runs_on_jax_where_tensorflow_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ModuleNotFoundError('as if it were not installed')\n")
    done = run("jax", tmp_path, "forward", "cached", "--allow-cpu", "--out", str(tmp_path / "gpu.json"))
    assert done.returncode == 0, done.stderr
    check(json.loads((tmp_path / "gpu.json").read_text()), "jax", ["forward", "cached"])


@needs_jax
def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path: Path) -> None:
    done = run("jax", tmp_path, "--out", str(tmp_path / "gpu.json"))
    assert done.returncode == 2
    assert "there must be a GPU, jax sees none here; --allow-cpu runs" in done.stderr
    assert not (tmp_path / "gpu.json").exists()


def test_the_arithmetic_counted_is_densenets() -> None:
    subject = Subject(FULL)
    assert subject.gflop == pytest.approx(2 * 2.83, abs=0.01)  # G multiply-adds; timm, who counts more layers: 2.87
    assert gflop(subject.network, {"conv1_conv"}) == pytest.approx(2e-9 * 7 * 7 * 3 * 64 * 112 * 112)
    behind = 3 * 3 * 128 * 32 * 7 * 7 + 1024 * 256 + 256 * 14
    assert subject.gflop_behind == pytest.approx(2e-9 * behind)


def test_a_rate_is_the_median_window_against_peak_and_product() -> None:
    rate = Rate.of("forward", "NVIDIA H200", [90.0, 130.0, 100.0], gflop=989.0, how="", product=197.8)
    assert (rate.images_per_second, rate.slowest, rate.fastest) == (100, 90, 130)
    assert (rate.tflops, rate.share_of_peak, rate.share_of_product) == pytest.approx((98.9, 0.1, 0.5))


def test_an_unknown_cards_peak_is_not_guessed() -> None:
    rate = Rate.of("forward", "NVIDIA GeForce RTX 3090 Ti", [100.0], gflop=1.0, how="")
    assert (rate.share_of_peak, rate.share_of_product) == (None, None)


def test_published_rates_are_shares_of_their_own_cards() -> None:
    assert [f"{rate.share_of_peak:.3f}" for rate in PUBLISHED] == ["0.245", "0.135", "0.229", "0.279", "0.222"]
