"""Runs are watched, listed and retried, with their states, exit codes and pod issues."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable

import pytest

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from tests.helpers.http_double import Fault
from tests.helpers.kfp_double import KfpDouble
from tests.helpers.kubernetes_double import KubernetesDouble
from tests.helpers.publish_inputs import METRICS
from tests.helpers.runs_on_kubernetes import RUN, creating, failed, pod, unschedulable
from tests.unit.radiograft_pipelines.conftest import Radiograft

Cluster = Callable[..., KubernetesDouble]
URIS = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
WAIT = ("submit", "--settings", "chestxray14", *URIS, "--wait", "--interval", "0.05")
RUNS = "/apis/v2beta1/runs"
GPUS = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def _set_script(kfp: KfpDouble, state: str, task_state: str) -> None:
    kfp.script = [
        ("RUNNING", [("ingest", "RUNNING")]),
        ("RUNNING", [("ingest", "SUCCEEDED"), ("fine-tune", "RUNNING")]),
        (state, [("ingest", "SUCCEEDED"), ("fine-tune", task_state)]),
    ]


@pytest.mark.parametrize(
    ("state", "task_state", "word", "code"),
    [
        ("SUCCEEDED", "SUCCEEDED", "succeeded", 0),
        ("FAILED", "FAILED", "failed", 1),
        ("CANCELED", "RUNNING", "terminated", 1),
    ],
)
def test_submit_wait_exits_with_run_state(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster, state: str, task_state: str, word: str, code: int
) -> None:
    cluster()
    _set_script(kfp, state, task_state)
    result = radiograft(*WAIT)
    assert result.exit_code == code, result.output
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    changes = ["ingest running", "ingest succeeded", "fine-tune running"]
    assert [line for line in lines if line in changes] == changes
    assert f"run {next(iter(kfp.runs))} {word}" in lines
    assert ["ingest", "succeeded", "0:01:30"] in [line.split() for line in lines]
    assert not [line for line in lines if line.startswith(("root", "executor", "ingest-driver", "radiograft-x7k2p"))]


def test_submit_wait_recognizes_names_and_display_names(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster
) -> None:
    cluster()
    kfp.script = [("SUCCEEDED", [("extract-features", "SUCCEEDED"), ("Fine tune", "SUCCEEDED")])]
    rows = [line.split() for line in radiograft(*WAIT).stdout.splitlines()]
    assert [row[0] for row in rows if row[1:] == ["succeeded", "0:01:30"]] == ["extract-features", "fine-tune"]


NOTHING_NEW = "the data have not changed since an earlier version: nothing was trained"


@pytest.mark.parametrize(
    ("other_tasks", "skipped"),
    [
        ([], True),
        ([("train-and-publish", "SKIPPED"), ("preprocess", "SKIPPED")], True),
        ([("publish", "SUCCEEDED")], False),
    ],
)
def test_submit_wait_unchanged_data_reports_nothing_new(
    radiograft: Radiograft, kfp: KfpDouble, other_tasks: list[tuple[str, str]], *, skipped: bool
) -> None:
    kfp.script = [("RUNNING", [("ingest", "RUNNING")]), ("SUCCEEDED", [("ingest", "SUCCEEDED"), *other_tasks])]
    result = radiograft(*WAIT, "--pipeline", "retraining")
    assert result.exit_code == 0, result.output
    assert (NOTHING_NEW in result.stdout.splitlines()) is skipped


def test_submit_wait_blocked_pod_is_reported_once(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    kfp.next_run_id = RUN
    cluster(pod("fine-tune", unschedulable(GPUS)))
    _set_script(kfp, "SUCCEEDED", "SUCCEEDED")
    result = radiograft(*WAIT)
    assert result.exit_code == 0, result.output
    assert result.output.count(f"fine-tune: Unschedulable: {GPUS}") == 1
    assert "  → no node has enough free GPUs: add a node with two nvidia.com/gpu" in result.output


def test_submit_wait_no_kubeconfig_still_watches(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(*WAIT)
    assert result.exit_code == 0
    assert result.stderr.startswith("pods cannot be diagnosed: no usable kubeconfig found (")


def test_submit_wait_pods_denied_still_watches(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    cluster().denied = {"pods"}
    kfp.script = [("RUNNING", []), ("RUNNING", []), ("SUCCEEDED", [])]
    result = radiograft(*WAIT)
    assert result.exit_code == 0
    assert result.stdout.count("denies access to pods (403)") == 1


def test_submit_wait_server_unavailable_retries(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    cluster()
    kfp.faults = [Fault("GET", f"{RUNS}/.*", 503, times=2)]
    assert radiograft(*WAIT).exit_code == 0


def test_submit_wait_server_lost_reports_run_continues(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster
) -> None:
    cluster()
    kfp.faults = [Fault("GET", f"{RUNS}/.*", 503, times=99)]
    result = radiograft(*WAIT, "--timeout", "1")
    (run_id,) = kfp.runs
    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"the run continues; watch it with radiograft runs {run_id} --wait\nError: {kfp.url} is not ready"
    )


def test_submit_wait_interrupted_reports_run_continues(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.script = [("RUNNING", [("ingest", "RUNNING")])]
    command = [sys.executable, "-m", "radiograft_pipelines.cli.main", *WAIT]
    restore_sigint = functools.partial(
        signal.signal, signal.SIGINT, signal.SIG_DFL
    )  # a shell's background jobs ignore it
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=restore_sigint
    ) as waiting:
        assert waiting.stdout is not None
        assert "ingest running\n" in iter(waiting.stdout.readline, "")
        waiting.send_signal(signal.SIGINT)
        _, stderr = waiting.communicate()
    (run_id,) = kfp.runs
    assert waiting.returncode == 130
    assert stderr.splitlines()[-1] == f"the run continues; watch it with radiograft runs {run_id} --wait"


def test_runs_failed_run_shows_tasks_and_cause(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    run = kfp.add_run(display_name="r", state="RUNNING")
    kfp.script = [("FAILED", [("fine-tune", "FAILED"), ("evaluate", "PENDING")])]
    cluster(pod("fine-tune", failed("OOMKilled", 137), run_id=run.run_id))
    result = radiograft("runs", run.run_id)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()[1:3]]
    assert rows == [["fine-tune", "failed", "0:01:30"], ["evaluate", "pending", "0:00:00"]]
    assert "fine-tune: OOMKilled: exit code 137\n  → the task exceeded its memory limit" in result.output
    assert f"run {run.run_id} failed\n{kfp.url}/#/runs/details/{run.run_id}\n" in result.output


def test_retry_failed_run_keeps_its_id(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    cluster()
    run = kfp.add_run(display_name="r", state="FAILED")
    result = radiograft("retry", run.run_id, "--wait", "--interval", "0.05")
    assert result.exit_code == 0, result.output
    assert kfp.retried == [run.run_id]
    assert result.output.startswith(f"run {run.run_id} resumed\n")
    assert f"run {run.run_id} succeeded" in result.output


def test_retry_lost_response_retries_once(radiograft: Radiograft, kfp: KfpDouble) -> None:
    run = kfp.add_run(display_name="r", state="FAILED")
    kfp.script = [("RUNNING", [])]
    kfp.faults = [Fault("POST", f"{RUNS}/.*:retry", 503, lost=True)]
    assert radiograft("retry", run.run_id).exit_code == 0
    assert kfp.retried == [run.run_id]


@pytest.mark.parametrize("state", ["SUCCEEDED", "RUNNING"])
def test_retry_not_failed_raises(radiograft: Radiograft, kfp: KfpDouble, state: str) -> None:
    kfp.script = [(state, [])]
    run = kfp.add_run(display_name="r", state=state)
    result = radiograft("retry", run.run_id)
    assert result.exit_code == 1
    assert result.output == f"Error: a run to retry must be FAILED or CANCELED, got {state} for {run.run_id}\n"
    assert kfp.retried == []


def test_runs_empty_reports_no_runs(radiograft: Radiograft) -> None:
    assert radiograft("runs").output == "no runs yet\n"


def _publish(root: str, number: int, run_id: str, auroc: float, *, promote: bool) -> None:
    """Writes the files of a version that a list of runs reads."""
    metrics = {"fine_tuning": {"test": {"mean": {"auroc": {"value": auroc}}}}}
    results = {**METRICS, "published": "fine_tuning", "metrics": metrics}
    claim = {"number": number, "run_id": run_id, "created": "2026-11-23T08:00:00+00:00", "parent": None}
    folder = storage.join(root, "chest-radiograph")
    storage.write_bytes(storage.join(folder, "claims", f"{number}.json"), json.dumps(claim).encode())
    for name, content in {
        f"{registry.EXTRA_ASSETS}/metrics.json": json.dumps(results).encode(),
        registry.MANIFEST: registry.with_own_digest({"version": number, "files": {}}),
        registry.COMMIT_MARKER: b"model",
    }.items():
        storage.write_bytes(storage.join(folder, str(number), name), content)
    if promote:
        production.promote(
            root, "chest-radiograph", number, production.read_production(root, "chest-radiograph"), reason=""
        )


def test_runs_lists_state_version_and_auroc(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster, embedded: str
) -> None:
    root = f"{embedded}/listed-runs"
    for _ in range(4):
        assert radiograft("submit", "--settings", "chestxray14", *URIS).exit_code == 0
    kfp.add_run(display_name="other pipeline", state="SUCCEEDED")
    first, second, third, fourth, _ = kfp.runs.values()
    for run, state in ((first, "SUCCEEDED"), (second, "SUCCEEDED"), (third, "FAILED"), (fourth, "RUNNING")):
        run.state = state
        run.runtime_config.parameters["publish_registry"] = root
    _publish(root, 1, first.run_id, 0.8125, promote=True)
    _publish(root, 2, second.run_id, 0.75, promote=False)
    cluster(pod("ingest", creating(), run_id=fourth.run_id))
    result = radiograft("runs")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()]
    assert rows[0] == ["run", "started", "state", "test", "AUROC", "version", "or", "reason"]
    assert rows[1:] == [
        [fourth.run_id, "2026-11-23", "08:00", "running", "-", "-"],
        [third.run_id, "2026-11-23", "08:00", "failed", "-", "-"],
        [second.run_id, "2026-11-23", "08:00", "succeeded", "0.750", "chest-radiograph", "2", "(candidate)"],
        [first.run_id, "2026-11-23", "08:00", "succeeded", "0.812", "chest-radiograph", "1", "(production)"],
    ]


@pytest.mark.parametrize(
    "content", [b"no JSON", b"[]", b'{"metrics": {}}', b'{"published": [], "metrics": {}}', b"[" * 100_000]
)
def test_runs_malformed_metrics_shows_no_version(
    radiograft: Radiograft, kfp: KfpDouble, embedded: str, content: bytes
) -> None:
    root = f"{embedded}/{uuid.uuid4()}"
    assert radiograft("submit", "--settings", "chestxray14", *URIS).exit_code == 0
    (run,) = kfp.runs.values()
    run.state, run.runtime_config.parameters["publish_registry"] = "SUCCEEDED", root
    _publish(root, 1, run.run_id, 0.8125, promote=True)
    storage.write_bytes(f"{root}/chest-radiograph/1/{registry.EXTRA_ASSETS}/metrics.json", content)
    (row,) = radiograft("runs").output.splitlines()[1:]
    assert row.split()[3:] == ["succeeded", "-", "-"]


def test_runs_unchanged_data_is_listed_as_nothing_new(radiograft: Radiograft, kfp: KfpDouble, embedded: str) -> None:
    root = f"{embedded}/nothing-new"
    for _ in range(2):
        assert radiograft("submit", "--settings", "chestxray14", *URIS, "--pipeline", "retraining").exit_code == 0
    first, second = kfp.runs.values()
    for run in (first, second):
        run.state = "SUCCEEDED"
        run.runtime_config.parameters["publish_registry"] = root
    _publish(root, 1, first.run_id, 0.8125, promote=True)
    rows = [line.split() for line in radiograft("runs").output.splitlines()[1:]]
    assert [row[3:] for row in rows] == [
        ["succeeded", "-", "nothing", "new"],
        ["succeeded", "0.812", "chest-radiograph", "1", "(production)"],
    ]


def test_runs_unreadable_registry_shows_no_version(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert radiograft("submit", "--settings", "chestxray14", *URIS, "--pipeline", "retraining").exit_code == 0
    (run,) = kfp.runs.values()
    run.state = "SUCCEEDED"
    (row,) = radiograft("runs").output.splitlines()[1:]
    assert row.split()[3:] == ["succeeded", "-", "-"]


def test_runs_limit_reads_pages_up_to_limit(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert radiograft("submit", "--settings", "chestxray14", *URIS).exit_code == 0
    (run,) = kfp.runs.values()
    for _ in range(149):
        kfp.add_run(display_name="r", state="FAILED", pipeline_version_reference=run.pipeline_version_reference)
    assert len(radiograft("runs", "--limit", "130").stdout.splitlines()) == 131
    assert kfp.paths("GET").count(RUNS) == 2 + 1  # one request while the run was submitted
