"""The commands for a cluster: submit, retry, runs, doctor, tensorboard.

KFP and Kubernetes are imported when a command needs them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from radiograft.reporting.tensorboard_card import credentials_hint, tensorboard_command
from radiograft_pipelines.cli import cluster_tables
from radiograft_pipelines.cli.cluster_options import (
    HOST,
    INTERVAL,
    NAMESPACE,
    TIMEOUT,
    check_request,
    cluster_options,
    cluster_or_none,
    require_text,
    run_options,
    service_account,
)
from radiograft_pipelines.cli.console import SafeConsole, cli_errors, out_option
from radiograft_pipelines.cli.schedule import schedule
from radiograft_pipelines.cluster import kfp_client, kubernetes_client, run_states, tensorboard, watch
from radiograft_pipelines.cluster import runs as run_list
from radiograft_pipelines.cluster import submit as submission
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import KfpClient
from radiograft_pipelines.cluster.preflight import checks
from radiograft_pipelines.cluster.preflight.registry import check_registry
from radiograft_pipelines.cluster.preflight.retries import check_retries


@click.command("submit")
@click.option("--wait", is_flag=True, help="Watch the run, and exit with 0 only if it succeeds.")
@INTERVAL
@run_options()
@cluster_options
def submit(server: KfpClient, request: submission.RunRequest, wait: bool, interval: float) -> None:
    """Starts a run on Kubeflow Pipelines, after uploading the pipeline's version if it does not exist yet."""
    check_request(request)
    run = submission.submit_run(server, request)
    click.echo(
        f"version: {request.package.name} {request.package.version}\nrun: {run.run_id}\n{server.link(run.run_id)}"
    )
    if wait:
        _wait(server, run.run_id, interval)


@click.command("retry")
@click.argument("run_id", callback=require_text)
@click.option("--wait", is_flag=True, help="Watch the run, and exit with 0 only if it succeeds.")
@INTERVAL
@cluster_options
def retry(server: KfpClient, run_id: str, wait: bool, interval: float) -> None:
    """Retries a failed run. Succeeded tasks are not repeated, and training resumes from its checkpoint."""
    run_list.retry_run(server, run_id)
    click.echo(f"run {run_id} resumed\n{server.link(run_id)}")
    if wait:
        _wait(server, run_id, interval)


@click.command("runs")
@click.argument("run_id", required=False, callback=require_text)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1), help="Maximum number of runs, the newest first."
)
@click.option("--wait", is_flag=True, help="With RUN_ID: watch the run, and exit with 0 only if it succeeds.")
@click.option("--forget", is_flag=True, help="Archive lost runs, which will never end; with RUN_ID, only that one.")
@INTERVAL
@cluster_options
def runs(server: KfpClient, run_id: str | None, limit: int, wait: bool, forget: bool, interval: float) -> None:
    """Lists runs with state, model version and AUROC. With RUN_ID, shows its tasks and what blocks them.

    A run is lost if its Workflow and pods no longer exist, for example because its schedule was deleted. KFP reports it
    as running forever.
    """
    if wait and not run_id:
        raise click.UsageError("--wait needs a RUN_ID, the run to watch")
    if forget:
        _forget(server, run_id)
    elif run_id and wait:
        _wait(server, run_id, interval, may_be_lost=True)
    elif run_id:
        _show(server, run_id)
    else:
        listed = run_list.list_runs(server, limit)
        cluster_tables.print_runs(listed, _describe_states(server, listed))


@click.command("doctor")
@click.option("--kfp-namespace", default="kubeflow", show_default=True, help="Namespace of KFP itself.")
@HOST
@NAMESPACE
@TIMEOUT
@run_options()
def doctor(
    request: submission.RunRequest, host: str | None, namespace: str, timeout: float, kfp_namespace: str
) -> None:
    """Reports, before a run, what would leave it pending or make it fail, and exits with 1 if anything would."""
    failed = False
    for result in _run_checks(request, host, namespace, timeout, kfp_namespace):
        cluster_tables.print_check(result)
        failed = failed or result.level == "bad"
    sys.exit(1 if failed else 0)


@click.command("tensorboard")
@click.option("--run", "run_id", callback=require_text, help="A run on the cluster; by default the latest local run.")
@click.option("--port", default=6006, show_default=True, help="Port of the local TensorBoard; 0 for any free port.")
@HOST
@NAMESPACE
@TIMEOUT
@out_option
def tensorboard_(run_id: str | None, port: int, host: str | None, namespace: str, timeout: float, out: Path) -> None:
    """Opens the training curves of the latest local run, or of a run on a cluster."""
    with cli_errors():
        if run_id:
            _show_tensorboard(kfp_client.connect(host, namespace, timeout), run_id)
            return
        logs = out / "latest" / "tensorboard"
        if not logs.is_dir():
            raise FileNotFoundError(f"no finished run in {out}; create one with radiograft run --settings demo")
    sys.exit(subprocess.call([sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", str(port)]))


COMMANDS = (submit, retry, runs, schedule, doctor, tensorboard_)


def _wait(server: KfpClient, run_id: str, interval: float, *, may_be_lost: bool = False) -> None:
    console, cluster = SafeConsole(soft_wrap=True), cluster_or_none(server.namespace)
    if may_be_lost:
        _require_not_lost(run_states.describe_state(server, cluster, watch.read_run(server, run_id)), run_id)
    try:
        run = watch.watch_run(server, cluster, run_id, console, interval)
    except (KeyboardInterrupt, ClusterError) as error:
        click.echo(f"the run continues; watch it with radiograft runs {run_id} --wait", err=True)
        if isinstance(error, ClusterError):
            raise
        sys.exit(130)
    cluster_tables.print_summary(console, run, run_states.describe_state(server, cluster, run))
    sys.exit(0 if run.state == "SUCCEEDED" else 1)


def _show(server: KfpClient, run_id: str) -> None:
    console, run = SafeConsole(soft_wrap=True), watch.read_run(server, run_id)
    cluster = cluster_or_none(server.namespace)
    watch.show_board(run, cluster, console)
    cluster_tables.print_summary(console, run, run_states.describe_state(server, cluster, run))
    console.print(server.link(run_id), highlight=False)


def _describe_states(server: KfpClient, listed: list[Any]) -> list[run_states.RunState]:
    """Returns the states of runs. Connects to Kubernetes only if a run has failed or not ended."""
    succeeded = all(run.state == "SUCCEEDED" for run in listed)
    cluster = None if succeeded else cluster_or_none(server.namespace)
    return run_states.describe_states(server, cluster, listed)


def _require_not_lost(state: run_states.RunState, run_id: str) -> None:
    if state.word == run_states.LOST:
        raise ClusterError(
            f"run {run_id} will never end: {state.reason}. Remove it with radiograft runs {run_id} --forget"
        )


def _forget(server: KfpClient, run_id: str | None) -> None:
    """Archives lost runs: the one with this ID, or all."""
    listed = [watch.read_run(server, run_id)] if run_id else run_list.list_runs(server, unfinished=True)
    states = _describe_states(server, listed)
    if run_id and states[0].word != run_states.LOST:
        raise ClusterError(
            f"a run to forget must be lost, that is unfinished without Workflow and pods, got {states[0].word} for "
            f"{run_id}: terminate a running run, or archive an ended one, in KFP's UI"
        )
    lost = [(run, state) for run, state in zip(listed, states, strict=True) if state.word == run_states.LOST]
    for run, state in lost:
        run_list.archive_run(server, run.run_id)
        click.echo(f"run {run.run_id} archived: {state.reason}")
    if not lost:
        click.echo("no lost runs")


def _run_checks(
    request: submission.RunRequest, host: str | None, namespace: str, timeout: float, kfp_namespace: str
) -> Iterator[checks.CheckResult]:
    server: KfpClient | None = None
    cluster: kubernetes_client.KubernetesClient | None = None
    try:
        cluster = kubernetes_client.connect(namespace)
    except ClusterError as error:
        yield checks.CheckResult("bad", str(error), "nodes and quotas are not checked without it")
    try:
        server = kfp_client.connect(host, namespace, timeout)
        yield checks.kfp_version(server, cluster, kfp_namespace)
    except ClusterError as error:
        yield checks.CheckResult("bad", str(error))
    if cluster:
        yield from checks.run_checks(cluster, request.package.pods, service_account(request, server))
        yield check_retries(cluster, kfp_namespace)
    yield checks.check_image(request.package.image)
    if request.values:
        yield check_registry(str(request.values["publish_registry"]))
    else:
        yield checks.CheckResult(
            "warning", "the registry was not checked", "add --settings, and --set registry=gs://..."
        )


def _show_tensorboard(server: KfpClient, run_id: str) -> None:
    run = watch.read_run(server, run_id)
    pipeline_id = run_list.pipeline_of(run)
    if not pipeline_id:
        raise ClusterError(
            f"run {run_id} must be of an uploaded pipeline to have training curves, got a run without one"
        )
    cluster = cluster_or_none(server.namespace)
    pipeline = server.call(
        f"the pipeline of run {run_id}",
        server.pipelines.pipeline_service_get_pipeline,
        pipeline_id=pipeline_id,
    )
    logs = tensorboard.run_logs_uri(run, pipeline.display_name, cluster)
    name = tensorboard.apply_tensorboard(cluster, run_id, logs) if cluster else None
    if name:
        click.echo(f"Tensorboard {name} shows {logs}: {server.host}/_/tensorboards/?ns={server.namespace}")
    else:
        click.echo(tensorboard_command(logs))
        if hint := credentials_hint(logs):
            click.echo(hint, err=True)
