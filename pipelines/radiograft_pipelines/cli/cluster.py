"""The commands for a cluster: submit, retry, runs, schedule, doctor, tensorboard.

KFP and Kubernetes are imported when a command needs them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from radiograft.config import DATA_CHANGED
from radiograft.reporting.tensorboard_card import credentials_hint, tensorboard_command
from radiograft.stages.container_image import is_pinned
from radiograft_pipelines.cli import cluster_tables
from radiograft_pipelines.cli.cluster_options import (
    HOST,
    INTERVAL,
    NAMESPACE,
    TIMEOUT,
    cluster_options,
    cluster_or_none,
    require_text,
    run_options,
    service_account,
)
from radiograft_pipelines.cli.console import SafeConsole, cli_errors, out_option
from radiograft_pipelines.cluster import cron as cron_fields
from radiograft_pipelines.cluster import kfp_client, kubernetes_client, package, schedules, tensorboard, watch
from radiograft_pipelines.cluster import runs as run_list
from radiograft_pipelines.cluster import submit as submission
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import KfpClient
from radiograft_pipelines.cluster.preflight import checks
from radiograft_pipelines.cluster.preflight.registry import check_registry
from radiograft_pipelines.cluster.preflight.retries import check_retries
from radiograft_pipelines.settings import SEARCH, WHOLE

PAST_TENSE = {"disable": "paused", "enable": "resumed", "delete": "deleted"}


@click.command("submit")
@click.option("--wait", is_flag=True, help="Watch the run, and exit with 0 only if it succeeds.")
@INTERVAL
@run_options()
@cluster_options
def submit(server: KfpClient, request: submission.RunRequest, wait: bool, interval: float) -> None:
    """Starts a run on Kubeflow Pipelines, after uploading the pipeline's version if it does not exist yet."""
    _check(request)
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
@INTERVAL
@cluster_options
def runs(server: KfpClient, run_id: str | None, limit: int, wait: bool, interval: float) -> None:
    """Lists runs with state, model version and AUROC. With RUN_ID, shows its tasks and what blocks them."""
    if wait and not run_id:
        raise click.UsageError("--wait needs a RUN_ID, the run to watch")
    if run_id and wait:
        _wait(server, run_id, interval)
    elif run_id:
        _show(server, run_id)
    else:
        names = [package.read_package(name).name for name in (WHOLE, SEARCH)]
        cluster_tables.print_runs(run_list.list_runs(server, names, limit))


@click.command("schedule")
@click.argument("name", required=False)
@click.option("--cron", help="Six fields, seconds first, or five. '0 0 3 * * 1': Mondays at three.")
@click.option("--allow-subhourly", is_flag=True, help="Allow more than one run an hour.")
@click.option("--list", "action", flag_value="list", help="List all schedules.")
@click.option("--pause", "action", flag_value="disable", help="Pause the schedule NAME.")
@click.option("--resume", "action", flag_value="enable", help="Resume the schedule NAME.")
@click.option("--delete", "action", flag_value="delete", help="Delete the schedule NAME.")
@run_options(train_trigger=DATA_CHANGED)
@cluster_options
def schedule(
    server: KfpClient, name: str | None, cron: str | None, allow_subhourly: bool, action: Any, request: Any
) -> None:
    """Runs a pipeline on a schedule: one recurring run per NAME, which is replaced if any of its options change.

    Its runs train only if data or settings have changed since the production version, unless train_trigger is `always`.
    """
    if action == "list":
        cluster_tables.print_schedules(schedules.list_schedules(server))
    elif not name:
        raise ClusterError("a schedule must have a NAME: radiograft schedule weekly --settings ... --cron ...")
    elif action:
        schedules.update_schedule(server, action, name)
        click.echo(f"schedule {name}: {PAST_TENSE[action]}")
    else:
        _schedule(server, name, request, cron or "", allow_subhourly)


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


def _check(request: submission.RunRequest) -> None:
    if not request.values:
        raise ClusterError("--settings must be given: a YAML file, or the name of a preset: demo, chestxray14, ...")
    if not is_pinned(request.package.image):
        click.echo(f"warning: {checks.check_image(request.package.image).message}", err=True)


def _wait(server: KfpClient, run_id: str, interval: float) -> None:
    console = SafeConsole(soft_wrap=True)
    try:
        run = watch.watch_run(server, cluster_or_none(server.namespace), run_id, console, interval)
    except (KeyboardInterrupt, ClusterError) as error:
        click.echo(f"the run continues; watch it with radiograft runs {run_id} --wait", err=True)
        if isinstance(error, ClusterError):
            raise
        sys.exit(130)
    cluster_tables.print_summary(console, run)
    sys.exit(0 if run.state == "SUCCEEDED" else 1)


def _show(server: KfpClient, run_id: str) -> None:
    console, run = SafeConsole(soft_wrap=True), watch.read_run(server, run_id)
    watch.show_board(run, cluster_or_none(server.namespace), console)
    cluster_tables.print_summary(console, run)
    console.print(server.link(run_id), highlight=False)


def _schedule(server: KfpClient, name: str, request: submission.RunRequest, text: str, allow_subhourly: bool) -> None:
    cron = cron_fields.parse_cron(text)
    if cron.completed:
        click.echo(f"--cron has five fields, but KFP expects the second first: using '{cron.text}'")
    if cron.subhourly and not allow_subhourly:
        raise ClusterError(f"'{cron.text}' fires more than once an hour; add --allow-subhourly to allow this")
    _check(request)
    result = schedules.create_schedule(server, name, request, cron)
    paused = ", still paused" if result.paused else ""
    click.echo(f"schedule {name}: {result.change}{paused} ({cron.text}, {result.recurring_run_id})")


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
