"""States and reasons of runs that failed, were terminated or are blocked, on a real cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from radiograft_pipelines.cluster.kfp_client import KfpClient
from radiograft_pipelines.cluster.watch import ENDED
from tests.cluster.conftest import CLUSTER_FILE, Radiograft, listed_row, listed_state, run_id_in, state_of, wait_until

START_MINUTES = 5
END_MINUTES = 10


@pytest.fixture(scope="module")
def failed(radiograft: Radiograft, run_options: tuple[str, ...]) -> Result:
    """The result of a run whose first task fails: the data are not in the layout of ChestX-ray14."""
    return radiograft("submit", *run_options, "--set", "format=chestxray14", "--wait")


def test_submit_wait_failed_task_tells_its_exception(failed: Result, radiograft: Radiograft) -> None:
    """Needs the pod of the failed task, and permission to read its log."""
    assert failed.exit_code == 1
    assert "ingest: FileNotFoundError: " in failed.stdout or "ingest: ValueError: " in failed.stdout
    assert "exit status 1" not in failed.stdout
    row = listed_row(radiograft, run_id_in(failed))
    assert row.split()[3] == "failed"
    assert "ingest: FileNotFoundError: " in row or "ingest: ValueError: " in row


def test_retry_failed_run_resumes(failed: Result, radiograft: Radiograft) -> None:
    """Needs a KFP that retries runs whose Workflow still exists, for an hour."""
    again = radiograft("retry", run_id_in(failed), "--wait")
    assert again.exit_code == 1
    assert again.stdout.startswith(f"run {run_id_in(failed)} resumed\n")


def test_retry_succeeded_run_raises(radiograft: Radiograft, waited: Result, run_id: str) -> None:
    """Needs the small run."""
    result = radiograft("retry", run_id)
    assert (result.exit_code, result.output) == (
        1,
        f"Error: a run to retry must be FAILED or CANCELED, got SUCCEEDED for {run_id}\n",
    )


def test_runs_terminated_run_is_listed_as_terminated(
    radiograft: Radiograft, server: KfpClient, started: Callable[..., str]
) -> None:
    """Needs a free node, so that the run is stopped while a task runs. Argo's message is that of a time-out."""
    run_id = started()
    wait_until(lambda: "ingest running" in " ".join(radiograft("runs", run_id).stdout.split()), START_MINUTES)
    server.runs.run_service_terminate_run(run_id=run_id)
    wait_until(lambda: state_of(server, run_id) in ENDED, END_MINUTES)
    assert listed_state(radiograft, run_id) == "terminated"
    shown = radiograft("runs", run_id).stdout
    assert f"run {run_id} terminated" in shown
    assert "exceeded its timeout" not in shown


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ("gpus: 4\n", "no node has enough free GPUs"),
        ("gpus: 64\n", "raise the resource quota radiograft-gpus"),
        ("image_pull_policy: Never\n", "check the image's name and digest"),
        ("node_selector: {radiograft-test: nowhere}\n", "label a node to match the node selector"),
    ],
)
def test_runs_blocked_pod_shows_remedy(
    radiograft: Radiograft, started: Callable[..., str], tmp_path: Path, change: str, remedy: str
) -> None:
    """Needs nodes with fewer than four GPUs, and the quota of the manifests."""
    file = tmp_path / "cluster.yaml"
    file.write_text(CLUSTER_FILE.read_text() + change)
    missing = ("--image", "radiograft/no-such-image:1") if "Never" in change else ()
    run_id = started("--cluster", str(file), *missing)
    wait_until(lambda: remedy in radiograft("runs", run_id).stdout, START_MINUTES)
