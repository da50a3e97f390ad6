"""The command `schedule`."""

from __future__ import annotations

from typing import Any

import click

from radiograft.config.resolution import RETRAINING
from radiograft_pipelines.cli import cluster_tables
from radiograft_pipelines.cli.cluster_options import INTERVAL, check_request, cluster_options, run_options
from radiograft_pipelines.cluster import cron as cron_fields
from radiograft_pipelines.cluster import schedules
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import KfpClient
from radiograft_pipelines.cluster.submit import RunRequest

PAST_TENSE = {"disable": "paused", "enable": "resumed"}


@click.command("schedule")
@click.argument("name", required=False)
@click.option("--cron", help="Six fields, seconds first, or five. '0 0 3 * * 1': Mondays at three.")
@click.option("--allow-subhourly", is_flag=True, help="Allow more than one run an hour.")
@click.option("--list", "action", flag_value="list", help="List all schedules.")
@click.option("--pause", "action", flag_value="disable", help="Pause the schedule NAME.")
@click.option("--resume", "action", flag_value="enable", help="Resume the schedule NAME.")
@click.option("--delete", "action", flag_value="delete", help="Delete the schedule NAME, unless it has a running run.")
@click.option("--wait", "unfinished", flag_value="wait", help="Delete or replace after the schedule's run has ended.")
@click.option("--now", "unfinished", flag_value="now", help="Delete or replace at once: a running run loses its work.")
@INTERVAL
@run_options(default=RETRAINING)
@cluster_options
def schedule(
    server: KfpClient,
    name: str | None,
    cron: str | None,
    allow_subhourly: bool,
    action: Any,
    unfinished: Any,
    interval: float,
    request: RunRequest,
) -> None:
    """Runs a pipeline on a schedule: one recurring run per NAME, which is replaced if any of its options change.

    The pipeline `retraining` trains only if data or settings have changed since the production version.
    A running run continues when its schedule is replaced; the old recurring run is deleted after it.
    """
    unfinished = unfinished or "keep"
    if action == "list":
        cluster_tables.print_schedules(schedules.list_schedules(server))
    elif not name:
        raise ClusterError("a schedule must have a NAME: radiograft schedule weekly --settings ... --cron ...")
    elif action == "delete":
        lost = schedules.delete_schedule(server, name, unfinished, interval)
        click.echo(f"schedule {name}: deleted")
        cluster_tables.print_lost_runs(lost)
    elif action:
        schedules.switch_schedule(server, action, name)
        click.echo(f"schedule {name}: {PAST_TENSE[action]}")
    else:
        fields = _parse_cron(request, cron or "", allow_subhourly)
        result = schedules.create_schedule(server, name, request, fields, unfinished, interval)
        cluster_tables.print_schedule_change(name, fields, result, unfinished)


def _parse_cron(request: RunRequest, text: str, allow_subhourly: bool) -> cron_fields.Cron:
    cron = cron_fields.parse_cron(text)
    if cron.completed:
        click.echo(f"--cron has five fields, but KFP expects the second first: using '{cron.text}'")
    if cron.subhourly and not allow_subhourly:
        raise ClusterError(f"'{cron.text}' fires more than once an hour; add --allow-subhourly to allow this")
    check_request(request)
    return cron
