"""Options that the cluster commands share. Failures are printed as one message."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from radiograft.config.resolution import PIPELINES, TRANSFER_LEARNING
from radiograft.stages.container_image import is_pinned
from radiograft_pipelines.cli.console import cli_errors
from radiograft_pipelines.cluster import kfp_client, kubernetes_client, package, submit
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.preflight.checks import check_image
from radiograft_pipelines.settings import values_for

Command = Callable[..., Any]
SINGLE_USER_ACCOUNT, MULTI_USER_ACCOUNT = "pipeline-runner", "default-editor"  # KFP's default service accounts
HOST = click.option("--host", envvar="KFP_ENDPOINT", help="URL of KFP. [env: KFP_ENDPOINT; token: KFP_TOKEN]")
NAMESPACE = click.option(
    "--namespace",
    default="kubeflow",
    show_default=True,
    envvar="KFP_NAMESPACE",
    help="Namespace of the runs' pods; with multi-user Kubeflow, that of your profile. [env: KFP_NAMESPACE]",
)
TIMEOUT = click.option(
    "--timeout",
    default=kfp_client.RETRY_TIMEOUT_SECONDS,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds to retry while the server is not ready.",
)
INTERVAL = click.option(
    "--interval",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Polling interval in seconds while waiting.",
)


def require_text(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Rejects an empty value, such as that of an unset shell variable, which would be mistaken for a missing one."""
    if text == "":
        raise click.BadParameter("must not be empty")
    return text


def cluster_options(command: Command) -> Command:
    """Adds the options that select KFP, and passes the connected client to the command as its first argument."""

    @HOST
    @NAMESPACE
    @TIMEOUT
    @functools.wraps(command)
    def connected_command(host: str | None, namespace: str, timeout: float, **arguments: Any) -> None:
        with cli_errors():
            command(kfp_client.connect(host, namespace, timeout), **arguments)

    return connected_command


ASSIGNMENTS = click.option(
    "--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Override a setting; repeatable."
)
RUN_OPTIONS = (  # those after --pipeline
    click.option("--image", envvar="RADIOGRAFT_TRAINER_IMAGE", help="Container image. [env: RADIOGRAFT_TRAINER_IMAGE]"),
    click.option(
        "--cluster",
        type=click.Path(path_type=Path),
        help="Cluster profile, such as manifests/overlays/gke/cluster.yaml.",
    ),
    click.option(
        "--experiment", default="radiograft", show_default=True, help="KFP experiment; created if it does not exist."
    ),
    click.option("--pipeline-root", default="", help="URI prefix of the artifacts; by default KFP's own."),
    click.option("--service-account", default="", help="Service account of the pods; by default KFP's own."),
)


def run_options(default: str = TRANSFER_LEARNING) -> Callable[[Command], Command]:
    """Adds the options that describe a run, and passes them to the command as a `RunRequest` named `request`.

    Without --settings the request has no values.

    Args:
        default: name of the pipeline that the command runs by default.
    """
    options = (
        click.option("--settings", help="A YAML file, or the name of a preset: demo, chestxray14, ..."),
        click.option(
            "--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Override a setting; repeatable."
        ),
        click.option("--pipeline", default=default, show_default=True, type=click.Choice(PIPELINES)),
        *RUN_OPTIONS,
    )

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def command_with_request(
            *positional: Any,
            settings: str | None,
            assignments: tuple[str, ...],
            pipeline: str,
            image: str | None,
            cluster: Path | None,
            experiment: str,
            pipeline_root: str,
            service_account: str,
            **arguments: Any,
        ) -> None:
            with cli_errors():
                values = values_for(pipeline, settings, assignments) if settings else {}
                if values:
                    submit.check_uris(values)
                compiled = package.read_package(pipeline, image, cluster)
                request = submit.RunRequest(
                    compiled, values, experiment, pipeline_root, service_account, settings or ""
                )
                command(*positional, request=request, **arguments)

        return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command_with_request)

    return decorate


def cluster_or_none(namespace: str) -> kubernetes_client.KubernetesClient | None:
    """Returns a Kubernetes client, or None with a warning if there is no kubeconfig: only diagnosis requires one."""
    try:
        return kubernetes_client.connect(namespace)
    except ClusterError as error:
        click.echo(f"pods cannot be diagnosed: {error}", err=True)
        return None


def service_account(request: submit.RunRequest, server: kfp_client.KfpClient | None) -> str:
    """Returns the service account of a run's pods."""
    multi_user = server is not None and server.multi_user
    return request.service_account or (MULTI_USER_ACCOUNT if multi_user else SINGLE_USER_ACCOUNT)


def check_request(request: submit.RunRequest) -> None:
    """Checks that a run has settings, and warns of an image that is not pinned.

    Raises:
        ClusterError: the request has no settings.
    """
    if not request.values:
        raise ClusterError("--settings must be given: a YAML file, or the name of a preset: demo, chestxray14, ...")
    if not is_pinned(request.package.image):
        click.echo(f"warning: {check_image(request.package.image).message}", err=True)
