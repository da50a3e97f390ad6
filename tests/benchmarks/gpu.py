"""`python -m tests.benchmarks.gpu [NAME ...]`: DenseNet-121 in bfloat16 on a GPU, its peak, and timm's rates.

It runs on the backend in KERAS_BACKEND, `jax` or `tensorflow`. With JAX, TensorFlow need not be installed.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path

import click
import keras
from rich.console import Console
from rich.table import Column, Table

from tests.benchmarks import gpu_steps, machine
from tests.benchmarks.gpu_rates import PEAKS, PUBLISHED, Rate
from tests.benchmarks.gpu_steps import Step
from tests.benchmarks.gpu_work import FULL, TINY, WORKS, Scale, Subject
from tests.benchmarks.timing import seconds

LATEST = Path("runs/bench/gpu.json")
PRECISION = "mixed_bfloat16"
WINDOWS = 7
console = Console()


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(WORKS)))
@click.option("--batch-size", type=click.IntRange(min=1), help=f"Images per step, {FULL.batch_size} by default.")
@click.option("--out", type=click.Path(path_type=Path), default=LATEST, show_default=True, help="The JSON file.")
@click.option("--allow-cpu", is_flag=True, help="Without a GPU, run a tiny network on the CPU as a test.")
def main(names: tuple[str, ...], batch_size: int | None, out: Path, allow_cpu: bool) -> None:
    """Run all benchmarks or the named ones: forward pass, cached or online fine-tuning step, training step."""
    if keras.backend.backend() not in ("jax", "tensorflow"):
        raise click.UsageError(f"KERAS_BACKEND must be jax or tensorflow, got {keras.backend.backend()}")
    card = gpu_steps.card()
    if not (card or allow_cpu):
        raise click.UsageError(
            f"a GPU is required, but {keras.backend.backend()} found none; "
            "--allow-cpu runs a tiny network on the CPU as a test"
        )
    scale = FULL if card else TINY
    scale = dataclasses.replace(scale, batch_size=batch_size or scale.batch_size)
    rates, machine_info = measure(scale, card or "the CPU", names or tuple(WORKS), out)
    console.print(table([*rates, *PUBLISHED]))
    for rate in (*rates, *PUBLISHED):
        console.print(f"- {rate.name}, {rate.card}: {rate.how}")
    console.print(", ".join(f"{name} {value}" for name, value in machine_info.items()))
    console.print(f"written to {out}")


def measure(
    scale: Scale, card: str, names: tuple[str, ...], out: Path
) -> tuple[list[Rate], dict[str, str | int | float | None]]:
    """Runs the named benchmarks and returns their rates and a description of the machine.

    Writes the file after each benchmark, so that earlier results remain if one exceeds the GPU's memory.
    """
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(PRECISION)
    product, rates = product_tflops(scale), []
    machine_info = {
        **machine.describe(),
        "card": card,
        "peak_tflops": PEAKS.get(card),
        "product_tflops": round(product, 4),
        "precision": PRECISION,
    }
    subject = Subject(scale)
    for name in names:
        console.print(f"compiling and measuring {name}")
        work = WORKS[name]
        windows = [scale.batch_size / time for time in step_seconds(work.start(subject), scale.window)]
        how = f"{scale.backbone} at {scale.side} px in {PRECISION}: {work.how}; median of {WINDOWS} windows"
        rates.append(
            Rate.of(
                name, card, windows, gflop=work.gflop(subject), how=how, batch_size=scale.batch_size, product=product
            )
        )
        write(rates, machine_info, out)
    return rates, machine_info


def product_tflops(scale: Scale) -> float:
    """Measures TFLOP/s of the product of two random square bfloat16 matrices: the rate attainable on this GPU."""
    left, right = (keras.random.normal((scale.matrix, scale.matrix), dtype="bfloat16", seed=seed) for seed in (0, 1))
    # Returning one element suffices to wait for the product. Nothing is fused, so the whole product is computed.
    times = step_seconds(lambda: keras.ops.matmul(left, right)[0, 0], scale.window)
    return 2e-12 * scale.matrix**3 / statistics.median(times)


def step_seconds(step: Step, window: float) -> list[float]:
    """Returns the seconds per step of WINDOWS windows of about `window` seconds each, after warm-up and compilation."""

    def run(steps: int) -> None:
        for _ in range(steps - 1):
            step()
        gpu_steps.wait(step())

    run(3)
    steps = max(1, round(window / (seconds(lambda: run(3)) / 3)))
    return [seconds(lambda: run(steps)) / steps for _ in range(WINDOWS)]


def write(rates: list[Rate], machine_info: dict[str, str | int | float | None], path: Path) -> None:
    """Writes the machine, the measured rates and timm's rates as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {"rows": rates, "published": PUBLISHED}
    as_json = {name: [dataclasses.asdict(rate) for rate in group] for name, group in rows.items()}
    path.write_text(json.dumps({"machine": machine_info, **as_json}, indent=2))


def table(rates: list[Rate]) -> Table:
    """Builds a table, one line per rate. `windows`: slowest and fastest; `of product`: share of the matrix product."""
    titles = ("batch", "images/s", "windows", "TFLOP/s", "of peak", "of product")
    rendered = Table("name", "card", *(Column(title, justify="right") for title in titles))
    for rate in rates:
        shares = (f"{share:.1%}" if share is not None else "" for share in (rate.share_of_peak, rate.share_of_product))
        windows = f"{rate.slowest:,.0f} to {rate.fastest:,.0f}" if rate.slowest < rate.fastest else ""
        speeds = (f"{rate.images_per_second:,.0f}", windows, f"{rate.tflops:,.1f}")
        card = rate.card.removeprefix("NVIDIA ").removeprefix("GeForce ")
        rendered.add_row(rate.name, card, f"{rate.batch_size or ''}", *speeds, *shares)
    return rendered


if __name__ == "__main__":
    main()
