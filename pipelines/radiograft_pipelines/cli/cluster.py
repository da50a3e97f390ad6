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
from radiograft.stages.container_image import is_fixed
from radiograft_pipelines.cli import cluster_tables
from radiograft_pipelines.cli.cluster_options import (
    HOST,
    NAMESPACE,
    PATIENCE,
    POLL,
    cluster_or_none,
    not_empty,
    on_cluster,
    orders,
    service_account,
)
from radiograft_pipelines.cli.console import Terminal, out_folder, told_in_one_line
from radiograft_pipelines.cluster import cron as cron_fields
from radiograft_pipelines.cluster import kfp_client, kubernetes_client, package, schedules, tensorboard, watch
from radiograft_pipelines.cluster import runs as run_list
from radiograft_pipelines.cluster import submit as submission
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import KfpServer
from radiograft_pipelines.cluster.preflight import checks
from radiograft_pipelines.cluster.preflight.checks import check_registry
from radiograft_pipelines.settings import SEARCH, WHOLE

DONE = {"disable": "paused", "enable": "resumed", "delete": "deleted"}


@click.command("submit")
@click.option("--wait", is_flag=True, help="Follow the run and exit with 0 only if it succeeds.")
@POLL
@orders
@on_cluster
def submit(server: KfpServer, order: submission.Order, wait: bool, poll: float) -> None:
    """Starts a run on Kubeflow Pipelines; the pipeline's version is uploaded where it is not there yet."""
    _check(order)
    run = submission.submit(server, order)
    click.echo(f"version: {order.package.name} {order.package.version}\nrun: {run.run_id}\n{server.link(run.run_id)}")
    if wait:
        _wait(server, run.run_id, poll)


@click.command("retry")
@click.argument("run_id", callback=not_empty)
@click.option("--wait", is_flag=True, help="Follow the run and exit with 0 only if it succeeds.")
@POLL
@on_cluster
def retry(server: KfpServer, run_id: str, wait: bool, poll: float) -> None:
    """Lets a failed run go on: what succeeded is not run again, and training goes on from its checkpoint."""
    run_list.retry(server, run_id)
    click.echo(f"run {run_id} goes on\n{server.link(run_id)}")
    if wait:
        _wait(server, run_id, poll)


@click.command("runs")
@click.argument("run_id", required=False, callback=not_empty)
@click.option("--most", default=20, show_default=True, type=click.IntRange(1), help="How many, the newest first.")
@click.option("--wait", is_flag=True, help="Of one run: follow it and exit with 0 only if it succeeds.")
@POLL
@on_cluster
def runs(server: KfpServer, run_id: str | None, most: int, wait: bool, poll: float) -> None:
    """Lists runs with verdict, model version and AUROC; with RUN_ID shows its tasks and what holds them."""
    if wait and not run_id:
        raise click.UsageError("--wait needs a RUN_ID, the run to follow")
    if run_id and wait:
        _wait(server, run_id, poll)
    elif run_id:
        _show(server, run_id)
    else:
        names = [package.read(name).name for name in (WHOLE, SEARCH)]
        cluster_tables.runs(run_list.latest(server, names, most))


@click.command("schedule")
@click.argument("name", required=False)
@click.option("--cron", help="Six fields, seconds first; five get the second 0. '0 0 3 * * 1': Mondays at three.")
@click.option("--often", is_flag=True, help="Allow more than one run an hour.")
@click.option("--list", "action", flag_value="list", help="List all schedules.")
@click.option("--pause", "action", flag_value="disable", help="Keep the schedule NAME, but start nothing.")
@click.option("--resume", "action", flag_value="enable", help="Go on with the schedule NAME.")
@click.option("--delete", "action", flag_value="delete", help="Remove the schedule NAME.")
@partial(orders, train_when=DATA_CHANGED)
@on_cluster
def schedule(server: KfpServer, name: str | None, cron: str | None, often: bool, action: Any, order: Any) -> None:
    """Runs a pipeline by the clock: one recurring run a NAME, replaced when anything about it changes.

    Its runs train only where data or settings changed since the version in production, unless train_when is `always`.
    """
    if action == "list":
        cluster_tables.schedules(schedules.listed(server))
    elif not name:
        raise ClusterError("a schedule must have a NAME: radiograft schedule weekly --settings ... --cron ...")
    elif action:
        schedules.act(server, action, name)
        click.echo(f"schedule {name}: {DONE[action]}")
    else:
        _schedule(server, name, order, cron or "", often)


@click.command("doctor")
@click.option("--kfp-namespace", default="kubeflow", show_default=True, help="Where KFP itself runs.")
@HOST
@NAMESPACE
@PATIENCE
@orders
def doctor(order: submission.Order, host: str | None, namespace: str, patience: float, kfp_namespace: str) -> None:
    """Tells before a run what would leave it pending or failing. Exits with 1 if there is anything of that kind."""
    worst = 0
    for finding in _findings(order, host, namespace, patience, kfp_namespace):
        cluster_tables.finding(finding)
        worst = max(worst, finding.level == "bad")
    sys.exit(worst)


@click.command("tensorboard")
@click.option(
    "--run", "run_id", callback=not_empty, help="A run on the cluster; without it, the latest run on this machine."
)
@click.option("--port", default=6006, show_default=True, help="Of the local TensorBoard; 0 for any that is free.")
@HOST
@NAMESPACE
@PATIENCE
@out_folder
def tensorboard_(run_id: str | None, port: int, host: str | None, namespace: str, patience: float, out: Path) -> None:
    """Opens the training curves of the latest local run, or of a run on a cluster."""
    with told_in_one_line():
        if run_id:
            _tensorboard_of(kfp_client.connect(host, namespace, patience), run_id)
            return
        logs = out / "latest" / "tensorboard"
        if not logs.is_dir():
            raise FileNotFoundError(f"there is no finished run in {out}: radiograft run --settings demo makes one")
    sys.exit(subprocess.call([sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", str(port)]))


COMMANDS = (submit, retry, runs, schedule, doctor, tensorboard_)


def _check(order: submission.Order) -> None:
    if not order.values:
        raise ClusterError("--settings must be given: a YAML file, or one by name: demo, chestxray14, ...")
    if not is_fixed(order.package.image):
        click.echo(f"warning: {checks.image(order.package.image).what}", err=True)


def _wait(server: KfpServer, run_id: str, poll: float) -> None:
    console = Terminal(soft_wrap=True)
    try:
        run = watch.follow(server, cluster_or_none(server.namespace), run_id, console, poll)
    except (KeyboardInterrupt, ClusterError) as stopped:
        click.echo(f"the run goes on; radiograft runs {run_id} --wait follows it again", err=True)
        if isinstance(stopped, ClusterError):
            raise
        sys.exit(130)
    cluster_tables.verdict(console, run)
    sys.exit(run.state != "SUCCEEDED")


def _show(server: KfpServer, run_id: str) -> None:
    console, run = Terminal(soft_wrap=True), watch.read(server, run_id)
    watch.show(run, cluster_or_none(server.namespace), console)
    cluster_tables.verdict(console, run)
    console.print(server.link(run_id), highlight=False)


def _schedule(server: KfpServer, name: str, order: submission.Order, text: str, often: bool) -> None:
    cron = cron_fields.read(text)
    if cron.completed:
        click.echo(f"--cron has five fields, and KFP wants the second first: taken as '{cron.text}'")
    if cron.often and not often:
        raise ClusterError(f"'{cron.text}' fires more than once an hour; say --often if that is meant")
    _check(order)
    done = schedules.schedule(server, name, order, cron)
    paused = ", still paused" if done.paused else ""
    click.echo(f"schedule {name}: {done.change}{paused} ({cron.text}, {done.recurring_run_id})")


def _findings(
    order: submission.Order, host: str | None, namespace: str, patience: float, kfp_namespace: str
) -> Iterator[checks.Finding]:
    server: KfpServer | None = None
    cluster: kubernetes_client.Kubernetes | None = None
    demands = order.package.demands
    try:
        cluster = kubernetes_client.connect(namespace)
    except ClusterError as error:
        yield checks.Finding("bad", str(error), "without it neither nodes nor quotas can be looked at")
    try:
        server = kfp_client.connect(host, namespace, patience)
        yield checks.kfp_version(server, cluster, kfp_namespace)
    except ClusterError as error:
        yield checks.Finding("bad", str(error))
    if cluster:
        yield from checks.examine(cluster, demands, service_account(order, server))
    yield checks.image(order.package.image)
    if order.values:
        yield check_registry(str(order.values["publish_registry"]))
    else:
        yield checks.Finding("warning", "the registry was not tried", "give --settings, and --set registry=gs://...")


def _tensorboard_of(server: KfpServer, run_id: str) -> None:
    run = watch.read(server, run_id)
    pipeline_id = run_list.pipeline_of(run)
    if not pipeline_id:
        raise ClusterError(f"a run with training curves must be of an uploaded pipeline, and run {run_id} is of none")
    cluster = cluster_or_none(server.namespace)
    pipeline = server.call(
        f"the pipeline of run {run_id}",
        server.pipelines.pipeline_service_get_pipeline,
        pipeline_id=pipeline_id,
    )
    logs = tensorboard.logs_of(run, pipeline.display_name, cluster)
    name = tensorboard.apply(cluster, run_id, logs) if cluster else None
    if name:
        click.echo(f"Tensorboard {name} shows {logs}: {server.host}/_/tensorboards/?ns={server.namespace}")
    else:
        click.echo(tensorboard_command(logs))
        if hint := credentials_hint(logs):
            click.echo(hint, err=True)
