"""The Kubernetes API of the cluster that KFP runs on: what a kubeconfig, or the pod that we are in, leads to."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from radiograft_pipelines.cluster.errors import ClusterError, call_with_retry, translate_errors, unready

TIMEOUTS = (3.0, 15.0)  # seconds to connect and to answer
RETRY_TIMEOUT_SECONDS = 10.0  # seconds for an API server that is not ready


@dataclass(frozen=True)
class KubernetesClient:
    """The API groups that are read, and the namespace of the runs."""

    host: str
    namespace: str
    core: Any
    apps: Any
    custom: Any

    def call(self, subject: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """One request.

        Raises:
            ClusterError: it failed.
            LookupError: there is no such object.
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
                raise LookupError(f"{self.host} has no {subject}") from None
            if error.status in (401, 403):
                raise ClusterError(
                    f"Kubernetes at {self.host} does not let you read {subject} ({error.status}): ask for the right, "
                    "or choose another context with kubectl config use-context"
                ) from None
            raise translate_errors(error, self.host, subject) from None
        except HTTPError as error:
            raise translate_errors(error, self.host, subject) from None

    def listed(self, subject: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
        """What a list method gives; nothing where the API group does not exist."""
        try:
            return list(self.call(subject, method, *arguments, **options).items)
        except LookupError:
            return []

    def objects(self, *place: str, **options: Any) -> list[dict[str, Any]]:
        """Custom resources of a group, version, namespace and plural name.

        Raises:
            ClusterError: as in `call`.
            LookupError: the cluster has no such kind.
        """
        method = self.custom.list_namespaced_custom_object
        return list(self.call(place[-1], method, *place, **options)["items"])


def connect(namespace: str) -> KubernetesClient:
    """Reads the kubeconfig; nothing is asked of the cluster yet.

    Raises:
        ClusterError: there is no usable kubeconfig, and we are in no pod.
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

    malformed = (YAMLError, TypeError, ValueError, AttributeError)  # the client stumbles over what is no kubeconfig
    try:
        config.load_kube_config(config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration)
    except (ConfigException, OSError, *malformed) as error:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except ConfigException:
            reason = " ".join(str(error).split())
            raise ClusterError(
                f"there is no usable kubeconfig ({reason}); set KUBECONFIG, or log in to the cluster first"
            ) from None
