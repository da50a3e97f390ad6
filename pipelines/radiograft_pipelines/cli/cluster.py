"""The commands for a cluster: submit, retry, runs, schedule, doctor, tensorboard. KFP is imported when one needs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
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
from radiograft_pipelines.cluster.preflight.checks import check_registry
from radiograft_pipelines.settings import SEARCH, WHOLE

DONE = {"disable": "paused", "enable": "resumed", "delete": "deleted"}


@click.command("submit")
@click.option("--wait", is_flag=True, help="Follow the run and exit with 0 only if it succeeds.")
@INTERVAL
@run_options
@cluster_options
def submit(server: KfpClient, order: submission.RunRequest, wait: bool, interval: float) -> None:
    """Starts a run on Kubeflow Pipelines; the pipeline's version is uploaded where it is not there yet."""
    _check(order)
    run = submission.submit_run(server, order)
    click.echo(f"version: {order.package.name} {order.package.version}\nrun: {run.run_id}\n{server.link(run.run_id)}")
    if wait:
        _wait(server, run.run_id, interval)


@click.command("retry")
@click.argument("run_id", callback=require_text)
@click.option("--wait", is_flag=True, help="Follow the run and exit with 0 only if it succeeds.")
@INTERVAL
@cluster_options
def retry(server: KfpClient, run_id: str, wait: bool, interval: float) -> None:
    """Lets a failed run go on: what succeeded is not run again, and training goes on from its checkpoint."""
    run_list.retry_run(server, run_id)
    click.echo(f"run {run_id} goes on\n{server.link(run_id)}")
    if wait:
        _wait(server, run_id, interval)


@click.command("runs")
@click.argument("run_id", required=False, callback=require_text)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many, the newest first.")
@click.option("--wait", is_flag=True, help="Of one run: follow it and exit with 0 only if it succeeds.")
@INTERVAL
@cluster_options
def runs(server: KfpClient, run_id: str | None, limit: int, wait: bool, interval: float) -> None:
    """Lists runs with verdict, model version and AUROC; with RUN_ID shows its tasks and what holds them."""
    if wait and not run_id:
        raise click.UsageError("--wait needs a RUN_ID, the run to follow")
    if run_id and wait:
        _wait(server, run_id, interval)
    elif run_id:
        _show(server, run_id)
    else:
        names = [package.read_package(name).name for name in (WHOLE, SEARCH)]
        cluster_tables.print_runs(run_list.latest_run(server, names, limit))


@click.command("schedule")
@click.argument("name", required=False)
@click.option("--cron", help="Six fields, seconds first; five get the second 0. '0 0 3 * * 1': Mondays at three.")
@click.option("--allow-subhourly", is_flag=True, help="Allow more than one run an hour.")
@click.option("--list", "action", flag_value="list", help="List all schedules.")
@click.option("--pause", "action", flag_value="disable", help="Keep the schedule NAME, but start nothing.")
@click.option("--resume", "action", flag_value="enable", help="Go on with the schedule NAME.")
@click.option("--delete", "action", flag_value="delete", help="Remove the schedule NAME.")
@partial(run_options, train_trigger=DATA_CHANGED)
@cluster_options
def schedule(
    server: KfpClient, name: str | None, cron: str | None, allow_subhourly: bool, action: Any, order: Any
) -> None:
    """Runs a pipeline by the clock: one recurring run a NAME, replaced when anything about it changes.

    Its runs train only where data or settings changed since the version in production, unless train_trigger is `always`.
    """
    if action == "list":
        cluster_tables.print_schedules(schedules.list_schedules(server))
    elif not name:
        raise ClusterError("a schedule must have a NAME: radiograft schedule weekly --settings ... --cron ...")
    elif action:
        schedules.update_schedule(server, action, name)
        click.echo(f"schedule {name}: {DONE[action]}")
    else:
        _schedule(server, name, order, cron or "", allow_subhourly)


@click.command("doctor")
@click.option("--kfp-namespace", default="kubeflow", show_default=True, help="Where KFP itself runs.")
@HOST
@NAMESPACE
@TIMEOUT
@run_options
def doctor(order: submission.RunRequest, host: str | None, namespace: str, timeout: float, kfp_namespace: str) -> None:
    """Tells before a run what would leave it pending or failing. Exits with 1 if there is anything of that kind."""
    worst = 0
    for finding in _findings(order, host, namespace, timeout, kfp_namespace):
        cluster_tables.print_check(finding)
        worst = max(worst, finding.level == "bad")
    sys.exit(worst)


@click.command("tensorboard")
@click.option(
    "--run", "run_id", callback=require_text, help="A run on the cluster; without it, the latest run on this machine."
)
@click.option("--port", default=6006, show_default=True, help="Of the local TensorBoard; 0 for any that is free.")
@HOST
@NAMESPACE
@TIMEOUT
@out_option
def tensorboard_(run_id: str | None, port: int, host: str | None, namespace: str, timeout: float, out: Path) -> None:
    """Opens the training curves of the latest local run, or of a run on a cluster."""
    with cli_errors():
        if run_id:
            _tensorboard_of(kfp_client.connect(host, namespace, timeout), run_id)
            return
        logs = out / "latest" / "tensorboard"
        if not logs.is_dir():
            raise FileNotFoundError(f"there is no finished run in {out}: radiograft run --settings demo makes one")
    sys.exit(subprocess.call([sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", str(port)]))


COMMANDS = (submit, retry, runs, schedule, doctor, tensorboard_)


def _check(order: submission.RunRequest) -> None:
    if not order.values:
        raise ClusterError("--settings must be given: a YAML file, or one by name: demo, chestxray14, ...")
    if not is_pinned(order.package.image):
        click.echo(f"warning: {checks.check_image(order.package.image).what}", err=True)


def _wait(server: KfpClient, run_id: str, interval: float) -> None:
    console = SafeConsole(soft_wrap=True)
    try:
        run = watch.watch_run(server, cluster_or_none(server.namespace), run_id, console, interval)
    except (KeyboardInterrupt, ClusterError) as stopped:
        click.echo(f"the run goes on; radiograft runs {run_id} --wait follows it again", err=True)
        if isinstance(stopped, ClusterError):
            raise
        sys.exit(130)
    cluster_tables.print_summary(console, run)
    sys.exit(run.state != "SUCCEEDED")


def _show(server: KfpClient, run_id: str) -> None:
    console, run = SafeConsole(soft_wrap=True), watch.read_run(server, run_id)
    watch.show_board(run, cluster_or_none(server.namespace), console)
    cluster_tables.print_summary(console, run)
    console.print(server.link(run_id), highlight=False)


def _schedule(server: KfpClient, name: str, order: submission.RunRequest, text: str, allow_subhourly: bool) -> None:
    cron = cron_fields.parse_cron(text)
    if cron.completed:
        click.echo(f"--cron has five fields, and KFP wants the second first: taken as '{cron.text}'")
    if cron.subhourly and not allow_subhourly:
        raise ClusterError(f"'{cron.text}' fires more than once an hour; say --allow-subhourly if that is meant")
    _check(order)
    done = schedules.create_schedule(server, name, order, cron)
    paused = ", still paused" if done.paused else ""
    click.echo(f"schedule {name}: {done.change}{paused} ({cron.text}, {done.recurring_run_id})")


def _findings(
    order: submission.RunRequest, host: str | None, namespace: str, timeout: float, kfp_namespace: str
) -> Iterator[checks.CheckResult]:
    server: KfpClient | None = None
    cluster: kubernetes_client.KubernetesClient | None = None
    demands = order.package.demands
    try:
        cluster = kubernetes_client.connect(namespace)
    except ClusterError as error:
        yield checks.CheckResult("bad", str(error), "without it neither nodes nor quotas can be looked at")
    try:
        server = kfp_client.connect(host, namespace, timeout)
        yield checks.kfp_version(server, cluster, kfp_namespace)
    except ClusterError as error:
        yield checks.CheckResult("bad", str(error))
    if cluster:
        yield from checks.run_checks(cluster, demands, service_account(order, server))
    yield checks.check_image(order.package.image)
    if order.values:
        yield check_registry(str(order.values["publish_registry"]))
    else:
        yield checks.CheckResult(
            "warning", "the registry was not tried", "give --settings, and --set registry=gs://..."
        )


def _tensorboard_of(server: KfpClient, run_id: str) -> None:
    run = watch.read_run(server, run_id)
    pipeline_id = run_list.pipeline_of(run)
    if not pipeline_id:
        raise ClusterError(f"a run with training curves must be of an uploaded pipeline, and run {run_id} is of none")
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
