"""The double of KFP answers in the shapes that a real KFP 2.17 was recorded to answer in."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.helpers.kfp_double import KfpDouble
from tests.helpers.recordings import read_recording
from tests.unit.radiograft_pipelines.conftest import Radiograft

URIS = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
RUN = ("--settings", "chestxray14", *URIS, "--service-account", "radiograft")
UNKNOWN = "00000000-0000-0000-0000-000000000000"


def _get(kfp: KfpDouble, path: str) -> Any:
    with urllib.request.urlopen(f"{kfp.url}/apis/v2beta1/{path}") as answer:
        return json.load(answer)


def _shape(value: Any) -> dict[str, str]:
    """Returns the types of a JSON value by the path of field names. Parameters of runs differ by settings."""
    if isinstance(value, dict):
        fields = [(f".{name}", content) for name, content in value.items() if name != "parameters"]
    elif isinstance(value, list):
        fields = [("[]", item) for item in value]
    else:
        return {"": type(value).__name__}
    return {name + path: kind for name, content in fields for path, kind in _shape(content).items()}


@pytest.mark.parametrize(
    ("path", "recording"),
    [("experiments", "experiments"), ("pipelines", "pipelines"), ("recurringruns", "recurring_runs")],
)
def test_kfp_double_list_has_recorded_shape(radiograft: Radiograft, kfp: KfpDouble, path: str, recording: str) -> None:
    assert radiograft("schedule", "weekly", *RUN, "--cron", "0 0 3 * * 1").exit_code == 0
    shape = _shape(_get(kfp, path))
    assert shape
    assert shape.items() <= _shape(read_recording(recording)).items()


def test_kfp_double_run_has_recorded_shape(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert radiograft("submit", *RUN).exit_code == 0
    kfp.script = [("RUNNING", [("ingest", "RUNNING")])]
    (run_id,) = kfp.runs
    shape = _shape(_get(kfp, f"runs/{run_id}"))
    recorded = _shape(read_recording("run_named_in_the_ui_two_workers"))
    assert shape.items() <= recorded.items()


def test_kfp_double_error_has_recorded_shape(kfp: KfpDouble) -> None:
    """An unknown ID is not found: code 5 of gRPC, which KFP's gateway turns into 404."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        _get(kfp, f"runs/{UNKNOWN}")
    answer, recorded = json.load(raised.value), read_recording("run_unknown")
    assert (raised.value.code, answer["code"]) == (404, recorded["code"])
    assert _shape(answer) == _shape(recorded)


@pytest.mark.parametrize("recording", ["run_canceling_for_ever", "run_running_without_workflow"])
def test_kfp_double_run_of_deleted_schedule_keeps_its_state(kfp: KfpDouble, recording: str) -> None:
    run = kfp.add_recorded_run(read_recording(recording))
    kfp.script = [("SUCCEEDED", [])]
    assert _get(kfp, f"runs/{run.run_id}")["state"] == read_recording(recording)["state"]


def test_kfp_double_retry_of_running_is_refused_as_recorded(kfp: KfpDouble) -> None:
    run = kfp.add_recorded_run(read_recording("run_running_without_workflow"))
    request = urllib.request.Request(f"{kfp.url}/apis/v2beta1/runs/{run.run_id}:retry", method="POST")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request)
    answer, recorded = json.load(raised.value), read_recording("retry_of_running")
    assert answer["details"] == recorded["details"]
    assert (answer["code"], answer.keys()) == (recorded["code"], recorded.keys())
