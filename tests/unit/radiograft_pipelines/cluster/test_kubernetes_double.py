"""The manifests of the Kubernetes double have the shapes of recorded pods and events."""

from __future__ import annotations

import json

import pytest

from radiograft_pipelines.cluster.pod_diagnosis import NODE_NAME, RUN_LABEL, TASK_LABEL
from tests.helpers.recordings import read_recording
from tests.helpers.runs_on_kubernetes import creating, event, failed, pod, unschedulable, waiting

RECORDINGS = ("succeeded", "failed_no_such_bucket", "held_no_gpus", "terminated_then_retried")
NOT_RECORDED = {  # no container was waiting
    f".status.containerStatuses.state.waiting{field}" for field in ("", ".reason", ".message")
}


def _keys(value: object, path: str = "") -> set[str]:
    """Returns the paths of all keys, without indices."""
    if isinstance(value, dict):
        return {key for name, item in value.items() for key in {f"{path}.{name}", *_keys(item, f"{path}.{name}")}}
    return {key for item in value for key in _keys(item, path)} if isinstance(value, list) else set()


def _recorded(field: str) -> list[object]:
    return [item for name in RECORDINGS for item in read_recording(f"pods_{name}")[field]]


@pytest.mark.parametrize(
    "manifest",
    [
        pod("ingest", failed("Error", 1)),
        pod("ingest", unschedulable("0/1 nodes are available")),
        pod("ingest", creating()),
        pod("ingest", waiting("ErrImagePull", "not found")),
        pod("ingest", failed("Error", 1), node=""),
    ],
)
def test_pod_has_only_recorded_fields(manifest: str) -> None:
    assert _keys(json.loads(manifest)) - NOT_RECORDED <= _keys(_recorded("pods"))


def test_event_has_only_recorded_fields() -> None:
    assert _keys(json.loads(event("ingest", "FailedMount", "not found"))) <= _keys(_recorded("events"))


@pytest.mark.parametrize(
    ("node", "end"), [("executor(0)", "root(0).ingest(0).executor(0)"), ("", "root(0).ingest-driver(0)")]
)
def test_pod_has_recorded_labels_and_node_name(node: str, end: str) -> None:
    """Only the pods of tasks have a label with the task's name, the pods of drivers have none."""
    pods = [json.loads(pod("ingest", {}, node=node)), *read_recording("pods_failed_no_such_bucket")["pods"]]
    ours, real = [item["metadata"] for item in pods if item["metadata"]["annotations"][NODE_NAME].endswith(end)]
    assert ours["labels"].keys() == real["labels"].keys() & {RUN_LABEL, TASK_LABEL}
    assert [each["annotations"][NODE_NAME].partition(".")[2] for each in (ours, real)] == [end, end]
