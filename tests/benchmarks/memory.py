"""Peak memory of the stages on n and on 4n images. `python -m tests.benchmarks.memory STAGE FOLDER` runs one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from radiograft.config import Evaluate, ExtractFeatures, FineTune, Preprocess
from tests.benchmarks import films, peak
from tests.benchmarks.row import Row

COUNTS = {"train": 120, "validation": 40, "test": 40}
FACTOR = 4
SIDE = 96  # pixels
CUT_OFF = "top_conv"
FLOOR = 1.25


def measure(work: Path) -> list[Row]:
    """Measures each stage in a separate process."""
    large = {split: FACTOR * count for split, count in COUNTS.items()}
    films.draw(work / "small_films", large, SIDE)
    folders = {name: work / f"memory_{name}" for name in ("n", "4n")}
    for folder, counts in zip(folders.values(), (COUNTS, large), strict=True):
        films.ingest_some(work / "small_films", counts, folder / "catalog")
    how = (
        f"EfficientNet-Lite0 at {SIDE} px, a new process for each stage. "
        f"Ours: peak with {sum(large.values())} images. Theirs: peak with {sum(COUNTS.values())}."
    )
    return [
        Row.cost(
            f"memory {stage}", _peak(stage, folders["4n"]), _peak(stage, folders["n"]), floor=FLOOR, unit="MB", how=how
        )
        for stage in STAGES
    ]


def _peak(stage: str, folder: Path) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.memory", stage, str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _preprocess(folder: Path) -> None:
    from radiograft.stages.preprocess import task

    task.run(Preprocess(image_size=SIDE), folder / "catalog", folder / "shards")


def _extract_features(folder: Path) -> None:
    from radiograft.stages.extract_features import task
    from radiograft.training.checkpoints import Checkpoints

    settings = ExtractFeatures(
        model_backbone="efficientnet_lite0", model_weights="none", model_cut_off=CUT_OFF, train_feature_epochs=2
    )
    outputs = (folder / name for name in ("features", "feature_model", "logs"))
    task.run(settings, folder / "shards", *outputs, Checkpoints(str(folder / "checkpoints")))


def _fine_tune(folder: Path) -> None:
    from radiograft.stages.fine_tune import task
    from radiograft.training.checkpoints import Checkpoints

    settings = FineTune(model_cut_off=CUT_OFF, train_fine_tune_epochs=2, train_augmentation="cached")
    inputs, outputs = (folder / "shards", folder / "feature_model"), (folder / "model", folder / "logs")
    task.run(settings, *inputs, *outputs, Checkpoints(str(folder / "checkpoints")))


def _evaluate(folder: Path) -> None:
    from radiograft.stages.evaluate import task

    inputs = task.EvaluateInputs(folder / "shards", folder / "features", folder / "feature_model", folder / "model")
    settings = Evaluate(publish_registry=str(folder / "registry"), evaluate_bootstrap_samples=100)
    task.run(settings, inputs, "memory", folder / "evaluation", folder / "report.html", folder / "logs")


STAGES: dict[str, Callable[[Path], None]] = {
    "preprocess": _preprocess,
    "extract_features": _extract_features,
    "fine_tune": _fine_tune,
    "evaluate": _evaluate,
}


if __name__ == "__main__":
    STAGES[sys.argv[1]](Path(sys.argv[2]))
    print(peak.megabytes())
