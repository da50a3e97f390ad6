"""Answers that a real Kubeflow Pipelines 2.17 and Kubernetes 1.36 gave, shortened to what the tests need."""

from __future__ import annotations

import json
from typing import Any

from tests.repository import ROOT

FOLDER = ROOT / "tests" / "recordings"


def read_recording(name: str) -> Any:
    """Returns a recorded JSON answer, for example `run_succeeded`."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def read_recorded_log(name: str) -> str:
    """Returns a recorded log of a pod, for example `failed_task`."""
    return (FOLDER / f"{name}.log").read_text()
