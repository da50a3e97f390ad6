"""Runs are listed with the reason why they failed, and recognized if they will never end."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import kfp_server_api as api
import pytest

from radiograft_pipelines.cluster.package import COMPILED
from tests.helpers.kfp_double import KfpDouble
from tests.helpers.kubernetes_double import KubernetesDouble
from tests.helpers.recordings import read_recording
from tests.helpers.runs_on_kubernetes import RUN, creating, failed, pod, workflow
from tests.unit.radiograft_pipelines.conftest import Radiograft

Cluster = Callable[..., KubernetesDouble]
URIS = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")


def _submitted_run(radiograft: Radiograft, kfp: KfpDouble, **fields: object) -> Any:
    """Submits a run and returns it with other fields."""
    assert radiograft("submit", "--settings", "chestxray14", *URIS).exit_code == 0
    run = list(kfp.runs.values())[-1]
    for name, value in fields.items():
        setattr(run, name, value)
    return run


def _rows(radiograft: Radiograft, *options: str) -> list[tuple[str, str, str]]:
    """Returns ID, state and the last column of the listed runs."""
    result = radiograft("runs", *options)
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines()[1:] if re.match("[0-9a-f]{8}-", line)]
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    return [(row[0], row[2], row[4]) for row in cells]


def _version_of(kfp: KfpDouble, recording: dict[str, Any], pipeline: str) -> None:
    """Adds the pipeline version that a recorded run refers to, with the compiled package of a pipeline."""
    reference = recording["pipeline_version_reference"]
    package = (COMPILED / f"{pipeline}.yaml").read_text()
    kfp.add_version(reference["pipeline_id"], reference["pipeline_version_id"], package)


def _history(*states: str) -> list[api.V2beta1RuntimeStatus]:
    return [api.V2beta1RuntimeStatus(state=state) for state in states]


def test_runs_pipeline_uploaded_under_another_name_is_listed(radiograft: Radiograft, kfp: KfpDouble) -> None:
    """Fails if runs are recognized by the name that a user gave the pipeline in the UI, here `ui-upload2`."""
    recording = read_recording("run_named_in_the_ui_two_workers")
    kfp.add_recorded_run(recording | {"runtime_config": {}})
    _version_of(kfp, recording, "cutoff_search")
    assert [row[0] for row in _rows(radiograft)] == ["1b8d9044-a5f2-45d5-aee4-dda363ee4b49"]


def test_runs_other_pipeline_of_the_same_name_is_not_listed(radiograft: Radiograft, kfp: KfpDouble) -> None:
    run = _submitted_run(radiograft, kfp, state="SUCCEEDED")
    reference = run.pipeline_version_reference
    kfp.add_version(reference.pipeline_id, reference.pipeline_version_id, "pipelineInfo: {name: segmentation}")
    assert radiograft("runs").output == "no runs yet\n"


def test_runs_deleted_version_is_not_listed(radiograft: Radiograft, kfp: KfpDouble) -> None:
    _submitted_run(radiograft, kfp, state="SUCCEEDED")
    kfp.versions.clear()
    assert radiograft("runs").output == "no runs yet\n"


def test_runs_version_is_read_once(radiograft: Radiograft, kfp: KfpDouble) -> None:
    for _ in range(3):
        _submitted_run(radiograft, kfp, state="SUCCEEDED")
    assert len(_rows(radiograft)) == 3
    (version,) = kfp.versions
    assert len([path for path in kfp.paths("GET") if path.endswith(f"/versions/{version}")]) == 1


def test_runs_failed_run_shows_reason(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    run = _submitted_run(radiograft, kfp, state="FAILED")
    cluster(pod("fine-tune", failed("OOMKilled", 137), run_id=run.run_id))
    assert _rows(radiograft) == [(run.run_id, "failed", "fine-tune: OOMKilled: exit code 137")]


def test_runs_failed_run_without_pods_shows_failed_task(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster
) -> None:
    run = _submitted_run(radiograft, kfp)
    kfp.script = [("FAILED", [("ingest", "SUCCEEDED"), ("fine-tune", "FAILED")])]
    assert radiograft("runs", run.run_id).exit_code == 0
    cluster()
    assert _rows(radiograft) == [(run.run_id, "failed", "fine-tune failed")]


@pytest.mark.parametrize(
    ("history", "word"),
    [
        (("PENDING", "RUNNING", "CANCELING", "FAILED"), "terminated"),
        (("PENDING", "RUNNING", "FAILED"), "failed"),
        (("RUNNING", "CANCELING", "FAILED", "RUNNING", "FAILED"), "failed"),  # terminated, retried, then failed
    ],
)
def test_runs_terminated_run_is_not_listed_as_failed(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster, history: tuple[str, ...], word: str
) -> None:
    """Fails if only the state is read: KFP reports a run that a user terminated as FAILED."""
    cluster()
    run = _submitted_run(radiograft, kfp, state="FAILED", state_history=_history(*history))
    assert _rows(radiograft) == [(run.run_id, word, "-")]
    assert f"run {run.run_id} {word}" in radiograft("runs", run.run_id).stdout.splitlines()


DELETED = "its schedule was deleted before it ended, and Kubernetes deleted its Workflow and pods with it"


@pytest.mark.parametrize("recorded", ["run_canceling_for_ever", "run_running_without_workflow"])
@pytest.mark.parametrize("with_kubernetes", [True, False])
def test_runs_run_of_deleted_schedule_is_lost(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster, recorded: str, *, with_kubernetes: bool
) -> None:
    recording = read_recording(recorded)
    run_id = recording["run_id"]
    kfp.add_recorded_run(recording)
    _version_of(kfp, recording, "transfer_learning")
    if with_kubernetes:
        cluster()
    assert _rows(radiograft) == [(run_id, "lost", DELETED)]
    assert radiograft("runs").stdout.endswith("\nradiograft runs --forget removes lost runs from the list\n")
    assert f"run {run_id} lost: {DELETED}" in radiograft("runs", run_id).stdout.splitlines()
    waiting = radiograft("runs", run_id, "--wait")
    assert waiting.exit_code == 1
    assert waiting.stderr.endswith(
        f"Error: run {run_id} will never end: {DELETED}. Remove it with radiograft runs {run_id} --forget\n"
    )


def test_runs_deleted_workflow_is_lost(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    run = _submitted_run(radiograft, kfp, state="RUNNING")
    double = cluster()
    reason = f"its Workflow and pods no longer exist in namespace kubeflow at {double.url}"
    assert _rows(radiograft) == [(run.run_id, "lost", reason)]


@pytest.mark.parametrize("manifest", [workflow("ingest", "Running", ""), pod("ingest", creating())], ids=["wf", "pod"])
def test_runs_existing_workflow_or_pod_is_not_lost(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster, manifest: str
) -> None:
    """Fails if a run of a deleted schedule counts as lost while Kubernetes still has it."""
    kfp.next_run_id = RUN
    _submitted_run(radiograft, kfp, state="RUNNING", recurring_run_id="deleted")
    cluster(manifest)
    assert _rows(radiograft) == [(RUN, "running", "-")]


@pytest.mark.parametrize("denied", [{"pods"}, {"workflows"}, None], ids=str)
def test_runs_unreadable_cluster_is_not_lost(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster, denied: set[str] | None
) -> None:
    """Fails if missing permission or a cluster without Argo, that is another cluster, counts as a lost run."""
    run = _submitted_run(radiograft, kfp, state="RUNNING")
    double = cluster()
    double.denied, double.kinds = denied or set(), double.kinds if denied else set()
    assert _rows(radiograft) == [(run.run_id, "running", "-")]


def test_runs_forget_archives_lost_runs_only(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    running, lost, succeeded = (
        _submitted_run(radiograft, kfp, state=state) for state in ("RUNNING", "CANCELING", "SUCCEEDED")
    )
    other = kfp.add_run(display_name="of another pipeline", state="RUNNING")
    double = cluster(pod("ingest", creating(), run_id=running.run_id))
    reason = f"its Workflow and pods no longer exist in namespace kubeflow at {double.url}"
    assert radiograft("runs", "--forget").stdout == f"run {lost.run_id} archived: {reason}\n"
    states = [run.storage_state for run in (running, lost, succeeded, other)]
    assert states == ["AVAILABLE", "ARCHIVED", "AVAILABLE", "AVAILABLE"]
    assert [row[0] for row in _rows(radiograft)] == [succeeded.run_id, running.run_id]
    assert radiograft("runs", "--forget").stdout == "no lost runs\n"


def test_runs_forget_one_archives_it(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    first, second = (_submitted_run(radiograft, kfp, state="CANCELING") for _ in range(2))
    cluster()
    assert radiograft("runs", second.run_id, "--forget").exit_code == 0
    assert (first.storage_state, second.storage_state) == ("AVAILABLE", "ARCHIVED")


@pytest.mark.parametrize("state", ["RUNNING", "SUCCEEDED"])
def test_runs_forget_other_run_raises(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster, state: str) -> None:
    run = _submitted_run(radiograft, kfp, state=state)
    kfp.script = [(state, [])]
    cluster(pod("ingest", creating(), run_id=run.run_id))
    result = radiograft("runs", run.run_id, "--forget")
    assert (result.exit_code, run.storage_state) == (1, "AVAILABLE")
    assert f"a run to forget must be lost, that is unfinished without Workflow and pods, got {state.lower()}" in (
        result.stderr
    )


def test_runs_loop_tasks_are_shown_with_iteration(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    """Fails if the workers of preprocess cannot be distinguished: KFP lists them under the same name."""
    cluster()
    run = kfp.add_recorded_run(read_recording("run_named_in_the_ui_two_workers") | {"runtime_config": {}})
    lines = [line.rpartition("  ")[0].split("  ")[0] for line in radiograft("runs", run.run_id).stdout.splitlines()]
    assert [line for line in lines if line.startswith("preprocess")] == ["preprocess (1 of 2)", "preprocess (2 of 2)"]
