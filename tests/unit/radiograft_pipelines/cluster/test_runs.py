"""Following runs, listing them, trying them again: verdicts, exit codes, and what holds them."""

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
from tests.helpers.runs_on_kubernetes import RUN, failed, pod, unschedulable
from tests.unit.radiograft_pipelines.conftest import Radiograft

Cluster = Callable[..., KubernetesDouble]
URIS = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
WAIT = ("submit", "--settings", "chestxray14", *URIS, "--wait", "--interval", "0.05")
RUNS = "/apis/v2beta1/runs"
GPUS = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def _follow(kfp: KfpDouble, verdict: str, last: str) -> None:
    kfp.script = [
        ("RUNNING", [("ingest", "RUNNING")]),
        ("RUNNING", [("ingest", "SUCCEEDED"), ("fine-tune", "RUNNING")]),
        (verdict, [("ingest", "SUCCEEDED"), ("fine-tune", last)]),
    ]


@pytest.mark.parametrize(
    ("verdict", "last", "code"), [("SUCCEEDED", "SUCCEEDED", 0), ("FAILED", "FAILED", 1), ("CANCELED", "RUNNING", 1)]
)
def test_waiting_ends_with_the_verdict(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster, verdict: str, last: str, code: int
) -> None:
    cluster()
    _follow(kfp, verdict, last)
    result = radiograft(*WAIT)
    assert result.exit_code == code, result.output
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    told = ["ingest running", "ingest succeeded", "fine-tune running"]
    assert [line for line in lines if line in told] == told
    assert f"run {next(iter(kfp.runs))} {verdict.lower()}" in lines
    assert ["ingest", "succeeded", "0:01:30"] in [line.split() for line in lines]
    assert not [line for line in lines if line.startswith(("root", "executor", "ingest-driver", "radiograft-x7k2p"))]


def test_tasks_are_known_by_either_of_their_names(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    cluster()
    kfp.script = [("SUCCEEDED", [("extract-features", "SUCCEEDED"), ("Fine tune", "SUCCEEDED")])]
    rows = [line.split() for line in radiograft(*WAIT).stdout.splitlines()]
    assert [row[0] for row in rows if row[1:] == ["succeeded", "0:01:30"]] == ["extract-features", "fine-tune"]


NOTHING_NEW = "the data have not changed since an earlier version: nothing was trained"


@pytest.mark.parametrize(
    ("when", "skipped", "told"),
    [
        ("data_changed", [], True),
        ("data_changed", [("condition-1", "SKIPPED"), ("preprocess", "SKIPPED")], True),
        ("data_changed", [("publish", "SUCCEEDED")], False),
        ("always", [], False),
    ],
)
def test_a_run_that_found_nothing_new_says_so_and_succeeds(
    radiograft: Radiograft, kfp: KfpDouble, when: str, skipped: list[tuple[str, str]], *, told: bool
) -> None:
    kfp.script = [("RUNNING", [("ingest", "RUNNING")]), ("SUCCEEDED", [("ingest", "SUCCEEDED"), *skipped])]
    result = radiograft(*WAIT, "--set", f"when={when}")
    assert result.exit_code == 0, result.output
    assert (NOTHING_NEW in result.stdout.splitlines()) is told


def test_what_holds_the_run_is_told_while_it_waits(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    kfp.next_run_id = RUN
    cluster(pod("fine-tune", unschedulable(GPUS)))
    _follow(kfp, "SUCCEEDED", "SUCCEEDED")
    result = radiograft(*WAIT)
    assert result.exit_code == 0, result.output
    assert result.output.count(f"fine-tune: Unschedulable: {GPUS}") == 1
    assert "  → no node has the GPUs free: add one with two nvidia.com/gpu" in result.output


def test_without_a_kubeconfig_a_run_is_followed_all_the_same(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(*WAIT)
    assert result.exit_code == 0
    assert result.stderr.startswith("what holds pods cannot be told: there is no usable kubeconfig (")


def test_without_the_right_to_read_pods_a_run_is_followed_all_the_same(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster
) -> None:
    cluster().denied = {"pods"}
    kfp.script = [("RUNNING", []), ("RUNNING", []), ("SUCCEEDED", [])]
    result = radiograft(*WAIT)
    assert result.exit_code == 0
    assert result.stdout.count("does not let you read pods (403)") == 1


def test_a_server_that_pauses_is_waited_for(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    cluster()
    kfp.faults = [Fault("GET", f"{RUNS}/.*", 503, times=2)]
    assert radiograft(*WAIT).exit_code == 0


def test_a_server_that_goes_away_leaves_the_run_alone(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    cluster()
    kfp.faults = [Fault("GET", f"{RUNS}/.*", 503, times=99)]
    result = radiograft(*WAIT, "--timeout", "1")
    (run_id,) = kfp.runs
    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"the run goes on; radiograft runs {run_id} --wait follows it again\nError: {kfp.url} is not ready"
    )


def test_who_stops_waiting_is_told_how_to_go_on(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.script = [("RUNNING", [("ingest", "RUNNING")])]
    command = [sys.executable, "-m", "radiograft_pipelines.cli.main", *WAIT]
    heeding = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which a shell's background jobs do not
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeding
    ) as waiting:
        assert waiting.stdout is not None
        assert "ingest running\n" in iter(waiting.stdout.readline, "")
        waiting.send_signal(signal.SIGINT)
        _, told = waiting.communicate()
    (run_id,) = kfp.runs
    assert waiting.returncode == 130
    assert told.splitlines()[-1] == f"the run goes on; radiograft runs {run_id} --wait follows it again"


def test_one_run_is_shown_with_what_ended_it(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    run = kfp.add_run(display_name="r", state="RUNNING")
    kfp.script = [("FAILED", [("fine-tune", "FAILED"), ("evaluate", "PENDING")])]
    cluster(pod("fine-tune", failed("OOMKilled", 137), run_id=run.run_id))
    result = radiograft("runs", run.run_id)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()[1:3]]
    assert rows == [["fine-tune", "failed", "0:01:30"], ["evaluate", "pending", "0:00:00"]]
    assert "fine-tune: OOMKilled: exit code 137\n  → it needed more memory than its limit" in result.output
    assert f"run {run.run_id} failed\n{kfp.url}/#/runs/details/{run.run_id}\n" in result.output


def test_a_failed_run_is_tried_again_under_its_own_id(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    cluster()
    run = kfp.add_run(display_name="r", state="FAILED")
    result = radiograft("retry", run.run_id, "--wait", "--interval", "0.05")
    assert result.exit_code == 0, result.output
    assert kfp.retried == [run.run_id]
    assert result.output.startswith(f"run {run.run_id} goes on\n")
    assert f"run {run.run_id} succeeded" in result.output


def test_an_answer_that_got_lost_does_not_retry_twice(radiograft: Radiograft, kfp: KfpDouble) -> None:
    run = kfp.add_run(display_name="r", state="FAILED")
    kfp.script = [("RUNNING", [])]
    kfp.faults = [Fault("POST", f"{RUNS}/.*:retry", 503, lost=True)]
    assert radiograft("retry", run.run_id).exit_code == 0
    assert kfp.retried == [run.run_id]


@pytest.mark.parametrize("state", ["SUCCEEDED", "RUNNING"])
def test_only_what_failed_is_tried_again(radiograft: Radiograft, kfp: KfpDouble, state: str) -> None:
    kfp.script = [(state, [])]
    run = kfp.add_run(display_name="r", state=state)
    result = radiograft("retry", run.run_id)
    assert result.exit_code == 1
    assert result.output == f"Error: a run to retry must be FAILED or CANCELED, got {state} for {run.run_id}\n"
    assert kfp.retried == []


def test_no_runs_yet(radiograft: Radiograft) -> None:
    assert radiograft("runs").output == "no runs yet\n"


def _publish(place: str, number: int, run_id: str, auroc: float, *, promote: bool) -> None:
    """A version as the publish stage leaves it, as far as a list of runs reads it."""
    facts = {"published": "fine_tuning", "metrics": {"fine_tuning": {"test": {"mean": {"auroc": {"value": auroc}}}}}}
    claim = {"number": number, "run_id": run_id, "created": "2026-11-23T08:00:00+00:00", "parent": None}
    folder = storage.join(place, "chest-radiograph")
    storage.write_bytes(storage.join(folder, "claims", f"{number}.json"), json.dumps(claim).encode())
    for name, content in {
        f"{registry.EXTRA_ASSETS}/metrics.json": json.dumps(facts).encode(),
        registry.MANIFEST: registry.with_own_digest({"version": number, "files": {}}),
        registry.COMMIT_MARKER: b"model",
    }.items():
        storage.write_bytes(storage.join(folder, str(number), name), content)
    if promote:
        production.promote(
            place, "chest-radiograph", number, production.read_production(place, "chest-radiograph"), reason=""
        )


def test_runs_are_listed_with_verdict_version_and_auroc(radiograft: Radiograft, kfp: KfpDouble, embedded: str) -> None:
    place = f"{embedded}/listed-runs"
    for _ in range(4):
        assert radiograft("submit", "--settings", "chestxray14", *URIS).exit_code == 0
    kfp.add_run(display_name="not ours", state="SUCCEEDED")
    first, second, third, fourth, _ = kfp.runs.values()
    for run, state in ((first, "SUCCEEDED"), (second, "SUCCEEDED"), (third, "FAILED"), (fourth, "RUNNING")):
        run.state = state
        run.runtime_config.parameters["publish_registry"] = place
    _publish(place, 1, first.run_id, 0.8125, promote=True)
    _publish(place, 2, second.run_id, 0.75, promote=False)
    result = radiograft("runs")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()]
    assert rows[0] == ["run", "started", "verdict", "version", "test", "AUROC"]
    assert rows[1:] == [
        [first.run_id, "2026-11-23", "08:00", "succeeded", "chest-radiograph", "1", "(production)", "0.812"],
        [second.run_id, "2026-11-23", "08:00", "succeeded", "chest-radiograph", "2", "(candidate)", "0.750"],
        [third.run_id, "2026-11-23", "08:00", "failed", "-", "-"],
        [fourth.run_id, "2026-11-23", "08:00", "running", "-", "-"],
    ]


@pytest.mark.parametrize(
    "content", [b"no JSON", b"[]", b'{"metrics": {}}', b'{"published": [], "metrics": {}}', b"[" * 100_000]
)
def test_what_tells_no_figures_is_no_version(
    radiograft: Radiograft, kfp: KfpDouble, embedded: str, content: bytes
) -> None:
    place = f"{embedded}/{uuid.uuid4()}"
    assert radiograft("submit", "--settings", "chestxray14", *URIS).exit_code == 0
    (run,) = kfp.runs.values()
    run.state, run.runtime_config.parameters["publish_registry"] = "SUCCEEDED", place
    _publish(place, 1, run.run_id, 0.8125, promote=True)
    storage.write_bytes(f"{place}/chest-radiograph/1/{registry.EXTRA_ASSETS}/metrics.json", content)
    (row,) = radiograft("runs").output.splitlines()[1:]
    assert row.split()[3:] == ["succeeded", "-", "-"]


def test_a_run_that_found_nothing_new_is_listed_as_such(radiograft: Radiograft, kfp: KfpDouble, embedded: str) -> None:
    place = f"{embedded}/nothing-new"
    for when in ("always", "data_changed", "always"):
        assert radiograft("submit", "--settings", "chestxray14", *URIS, "--set", f"when={when}").exit_code == 0
    first, second, third = kfp.runs.values()
    for run in (first, second, third):
        run.state = "SUCCEEDED"
        run.runtime_config.parameters["publish_registry"] = place
    _publish(place, 1, first.run_id, 0.8125, promote=True)
    rows = [line.split() for line in radiograft("runs").output.splitlines()[1:]]
    assert [row[3:] for row in rows] == [
        ["succeeded", "chest-radiograph", "1", "(production)", "0.812"],
        ["succeeded", "nothing", "new", "-"],
        ["succeeded", "-", "-"],
    ]


def test_without_a_registry_that_can_be_read_nothing_is_said_of_what_a_run_found(
    radiograft: Radiograft, kfp: KfpDouble
) -> None:
    assert radiograft("submit", "--settings", "chestxray14", *URIS, "--set", "when=data_changed").exit_code == 0
    (run,) = kfp.runs.values()
    run.state = "SUCCEEDED"
    (row,) = radiograft("runs").output.splitlines()[1:]
    assert row.split()[3:] == ["succeeded", "-", "-"]


def test_runs_are_listed_page_by_page_up_to_the_limit(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert radiograft("submit", "--settings", "chestxray14", *URIS).exit_code == 0
    (run,) = kfp.runs.values()
    for _ in range(149):
        kfp.add_run(display_name="r", state="FAILED", pipeline_version_reference=run.pipeline_version_reference)
    assert len(radiograft("runs", "--limit", "130").output.splitlines()) == 131
    assert kfp.paths("GET").count(RUNS) == 2 + 1  # and one look before the run was made
