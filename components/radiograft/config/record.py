"""The settings of all stages so far travel with the artifacts, so that reports and lineage can name every one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from radiograft.config.base import Scalar, Settings

FILE = "settings.json"


def record_settings(output: Path, settings: Settings, *inputs: Path) -> None:
    """Writes to the folder `output` this stage's settings and those that came with its input folders."""
    known = {name: value for folder in inputs for name, value in read_settings(folder).items()}
    record(output, {**known, **dataclasses.asdict(settings)})


def record(output: Path, settings: Mapping[str, Scalar]) -> None:
    """Writes settings by name to the folder `output`."""
    (output / FILE).write_text(json.dumps(dict(sorted(settings.items())), indent=2))


def read_settings(folder: Path) -> dict[str, Scalar]:
    """Settings by name of all stages that led to this folder."""
    return dict(json.loads((folder / FILE).read_text()))
