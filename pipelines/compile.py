"""Compiles the pipelines to the packages that a user uploads in the KFP UI: `python -m pipelines.compile`."""

from __future__ import annotations

import sys
from pathlib import Path

from kfp import compiler

from pipelines.cutoff_search import cutoff_search
from pipelines.transfer_learning import transfer_learning

COMPILED = Path(__file__).parent / "compiled"
PIPELINES = {"transfer_learning.yaml": transfer_learning, "cutoff_search.yaml": cutoff_search}


def compile_all(folder: Path) -> list[Path]:
    """Writes every pipeline's package to `folder` and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pipeline in PIPELINES.items():
        compiler.Compiler().compile(pipeline, str(folder / name))
    return [folder / name for name in PIPELINES]


if __name__ == "__main__":
    for written in compile_all(Path(sys.argv[1]) if len(sys.argv) > 1 else COMPILED):
        print(f"wrote {written}")
