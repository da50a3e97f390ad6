"""Client for the Kubernetes API of the cluster that KFP runs on."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from radiograft_pipelines.cluster.errors import ClusterError, call_with_retry, translate_errors, unready

TIMEOUTS = (3.0, 15.0)  # connect and read timeouts in seconds
RETRY_TIMEOUT_SECONDS = 10.0  # how long to retry while the API server is not ready


@dataclass(frozen=True)
class KubernetesClient:
    """The Kubernetes API groups in use, and the namespace of the runs."""

    host: str
    namespace: str
    core: Any
    apps: Any
    custom: Any

    def call(self, subject: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Sends one request, with retries while the server is not ready.

        Args:
            subject: what is requested, for error messages.

        Raises:
            ClusterError: the request failed.
            LookupError: the object does not exist.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call_with_retry(
                lambda: method(*arguments, _request_timeout=TIMEOUTS, **options),
                seconds=RETRY_TIMEOUT_SECONDS,
                passing=unready,
            )
        except ApiException as error:
            if error.status == 404:
                raise LookupError(f"{subject} not found at {self.host}") from None
            if error.status in (401, 403):
                raise ClusterError(
                    f"Kubernetes at {self.host} denies access to {subject} ({error.status}): request permission, or "
                    "select another context with kubectl config use-context"
                ) from None
            raise translate_errors(error, self.host, subject) from None
        except HTTPError as error:
            raise translate_errors(error, self.host, subject) from None

    def list_items(self, subject: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
        """Returns the items of a list method; an empty list if the API group does not exist."""
        try:
            return list(self.call(subject, method, *arguments, **options).items)
        except LookupError:
            return []

    def list_custom_objects(self, *path: str, **options: Any) -> list[dict[str, Any]]:
        """Returns the custom resources of a group, version, namespace and plural name.

        Raises:
            ClusterError: the request failed.
            LookupError: the cluster does not have this kind.
        """
        method = self.custom.list_namespaced_custom_object
        return list(self.call(path[-1], method, *path, **options)["items"])


def connect(namespace: str) -> KubernetesClient:
    """Returns a client for the cluster of the kubeconfig, or of the pod that this runs in. Sends no request.

    Raises:
        ClusterError: no usable kubeconfig was found, and this does not run in a pod.
    """
    from kubernetes import client

    configuration = client.Configuration()
    _load(configuration)
    configuration.retries = False
    api_client = client.ApiClient(configuration)
    return KubernetesClient(
        host=configuration.host,
        namespace=namespace,
        core=client.CoreV1Api(api_client),
        apps=client.AppsV1Api(api_client),
        custom=client.CustomObjectsApi(api_client),
    )


def _load(configuration: Any) -> None:
    from kubernetes import config
    from kubernetes.config import ConfigException
    from yaml import YAMLError

    malformed = (YAMLError, TypeError, ValueError, AttributeError)  # what the client raises for a malformed kubeconfig
    try:
        config.load_kube_config(config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration)
    except (ConfigException, OSError, *malformed) as error:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except ConfigException:
            reason = " ".join(str(error).split())
            raise ClusterError(
                f"no usable kubeconfig found ({reason}); set KUBECONFIG, or log in to the cluster first"
            ) from None
