"""What the commands for a cluster share: options, and failures told in one line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from radiograft.config.base import Scalar
from radiograft_pipelines.cli.console import cli_errors
from radiograft_pipelines.cluster import kfp_client, kubernetes_client, package, submit
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.settings import SEARCH, WHOLE, values_for

Command = Callable[..., Any]
KFPS_ACCOUNT, KFPS_ACCOUNT_OF_USERS = "pipeline-runner", "default-editor"  # what KFP takes where none is given
HOST = click.option("--host", envvar="KFP_ENDPOINT", help="KFP's URL. [env: KFP_ENDPOINT; a token goes into KFP_TOKEN]")
NAMESPACE = click.option(
    "--namespace",
    default="kubeflow",
    show_default=True,
    envvar="KFP_NAMESPACE",
    help="Where the pods of runs live: your profile where Kubeflow keeps its users apart. [env: KFP_NAMESPACE]",
)
TIMEOUT = click.option(
    "--timeout",
    default=kfp_client.RETRY_TIMEOUT_SECONDS,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds until a server that is not ready is given up.",
)
INTERVAL = click.option(
    "--interval",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds between two looks while waiting.",
)


def require_text(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Refuses an empty text, such as that of a shell's variable that is not set, which is not the same as none."""
    if text == "":
        raise click.BadParameter("must not be empty")
    return text


def cluster_options(command: Command) -> Command:
    """Gives a command KFP's server as `server` and the options that lead to it; its failures are one message each."""

    @HOST
    @NAMESPACE
    @TIMEOUT
    @functools.wraps(command)
    def connected(host: str | None, namespace: str, timeout: float, **arguments: Any) -> None:
        with cli_errors():
            command(kfp_client.connect(host, namespace, timeout), **arguments)

    return connected


def run_options(command: Command, **defaults: Scalar) -> Command:
    """Gives a command the options that say what is to run, as an Order named `order`; None without --settings.

    Args:
        defaults: of settings, where this command's differ from the settings' own.
    """

    @click.option("--settings", help="A YAML file, or one by name: demo, chestxray14, ...")
    @click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Overrides a setting; repeatable.")
    @click.option("--pipeline", default=WHOLE, show_default=True, type=click.Choice([WHOLE, SEARCH]))
    @click.option("--image", envvar="RADIOGRAFT_TRAINER_IMAGE", help="Container image. [env: RADIOGRAFT_TRAINER_IMAGE]")
    @click.option(
        "--cluster",
        type=click.Path(path_type=Path),
        help="File of what the cluster has and wants, such as manifests/overlays/gke/cluster.yaml.",
    )
    @click.option("--experiment", default="radiograft", show_default=True, help="Experiment of KFP's, made if need be.")
    @click.option("--pipeline-root", default="", help="Bucket prefix of the artifacts; empty: KFP's own.")
    @click.option("--service-account", default="", help="Of the pods; empty: KFP's own.")
    @functools.wraps(command)
    def ordered(
        *given: Any,
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
            values = values_for(pipeline, settings, assignments, defaults) if settings else {}
            if values:
                submit.check_uris(values)
            compiled = package.read_package(pipeline, image, cluster, str(values.get("publish_model_name", "")))
            order = submit.RunRequest(compiled, values, experiment, pipeline_root, service_account)
            command(*given, order=order, **arguments)

    return ordered


def cluster_or_none(namespace: str) -> kubernetes_client.KubernetesClient | None:
    """The cluster where a kubeconfig leads to it; KFP alone is enough to run, not to see what holds pods."""
    try:
        return kubernetes_client.connect(namespace)
    except ClusterError as error:
        click.echo(f"what holds pods cannot be told: {error}", err=True)
        return None


def service_account(order: submit.RunRequest, server: kfp_client.KfpClient | None) -> str:
    """The service account that the pods of an order get."""
    apart = server is not None and server.multi_user
    return order.service_account or (KFPS_ACCOUNT_OF_USERS if apart else KFPS_ACCOUNT)
