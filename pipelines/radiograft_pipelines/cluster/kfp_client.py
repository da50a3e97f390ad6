"""Client for the KFP REST API.

`kfp.Client` resolves the host and the credentials. Timeouts and retries are set here.
"""

from __future__ import annotations

import json
import os
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from radiograft_pipelines.cluster.errors import ClusterError, call_with_retry, translate_errors, unready

Answer = TypeVar("Answer")
RETRY_TIMEOUT_SECONDS = 60.0  # how long to retry while the server is not ready
TIMEOUTS = (3.0, 30.0)  # connect and read timeouts in seconds
PROBE_TIMEOUTS = (2.0, 2.5)  # of the health check, so that a wrong host is reported within five seconds
NOT_KFP = (400, 404, 405, 500, 501)  # statuses that other servers return for KFP's health check
PAGE = 100
TOKEN_VARIABLE = "KFP_TOKEN"  # noqa: S105  a variable's name, not a password
EXAMPLE = "http://localhost:8080 after `kubectl port-forward --namespace kubeflow svc/ml-pipeline-ui 8080:80`"


@dataclass(frozen=True)
class KfpClient:
    """The services of the KFP REST API.

    Attributes:
        host: URL of KFP.
        namespace: namespace of the runs' pods.
        multi_user: whether KFP isolates its users from each other.
        release: KFP's release, such as `2.17.0`; empty if the server does not report it.
        timeout: seconds to retry while the server is not ready.
    """

    host: str
    namespace: str
    multi_user: bool
    release: str
    timeout: float
    runs: Any
    experiments: Any
    pipelines: Any
    uploads: Any
    schedules: Any

    @property
    def scope(self) -> str | None:
        """The namespace to pass to the API; None in single-user mode."""
        return self.namespace if self.multi_user else None

    def call(self, subject: str, method: Callable[..., Answer], **arguments: Any) -> Answer:
        """Sends one idempotent request, with retries.

        Args:
            subject: what is requested, for error messages.

        Raises:
            ClusterError: the request failed, or was not answered until the timeout.
        """
        return self.find_or_create(subject, lambda: None, lambda: method(**arguments, _request_timeout=TIMEOUTS))

    def find_or_create(self, subject: str, find: Callable[[], Answer | None], create: Callable[[], Answer]) -> Answer:
        """Returns what `find` returns, or else creates it.

        Each attempt calls `find` first, so that an object created by an attempt whose response was lost is found.

        Args:
            subject: what is created, for error messages.

        Raises:
            ClusterError: the request failed, or was not answered until the timeout.
        """
        from kfp_server_api import ApiException
        from urllib3.exceptions import HTTPError

        def attempt() -> Answer:
            if existing := find():
                return existing
            try:
                return create()
            except ApiException as error:
                if error.status == 409 and (existing := find()):  # another client created it in the meantime
                    return existing
                raise

        try:
            return call_with_retry(attempt, seconds=self.timeout)
        except (ApiException, HTTPError) as error:
            raise translate_errors(error, self.host, subject) from None

    def iter_items(self, subject: str, method: Callable[..., Any], field: str, **arguments: Any) -> Iterator[Any]:
        """Yields the items of all pages of a list method, whose response holds them in `field`."""
        token = ""
        while True:
            page = self.call(subject, method, page_token=token, page_size=PAGE, **arguments)
            yield from getattr(page, field) or ()
            token = page.next_page_token
            if not token:
                return

    def link(self, run_id: str) -> str:
        """Returns the URL of a run's page in the KFP UI."""
        return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', self.host)}/#/runs/details/{run_id}"


def find_by_name(name: str) -> str:
    """Returns the filter with which a list method returns the objects of this name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def connect(host: str | None, namespace: str, timeout: float = RETRY_TIMEOUT_SECONDS) -> KfpClient:
    """Connects to KFP and checks that the server is KFP.

    Raises:
        ClusterError: the host is invalid or unreachable, or the server is not KFP.
    """
    url = _check_host(host)
    import kfp_server_api as api

    client = _api_client(url)
    health = _check_health(api.HealthzServiceApi(client), url, timeout)
    return KfpClient(
        host=client.configuration.host,
        namespace=namespace,
        multi_user=bool(health.get("multi_user")),
        release=str(health.get("apiServerTagName") or health.get("tag_name") or ""),
        timeout=timeout,
        runs=api.RunServiceApi(client),
        experiments=api.ExperimentServiceApi(client),
        pipelines=api.PipelineServiceApi(client),
        uploads=api.PipelineUploadServiceApi(client),
        schedules=api.RecurringRunServiceApi(client),
    )


def _check_host(host: str | None) -> str:
    if not host:
        raise ClusterError(f"--host or KFP_ENDPOINT must give KFP's URL, such as {EXAMPLE}")
    if not host.startswith(("http://", "https://")):
        raise ClusterError(f"--host must begin with http:// or https://, got {host!r}; did you mean 'http://{host}'?")
    if not urllib.parse.urlsplit(host).hostname:
        raise ClusterError(f"--host must contain a host name, got {host!r}; use a URL such as {EXAMPLE}")
    return host


def _api_client(host: str) -> Any:
    """Returns the API client that `kfp.Client` sets up, without urllib3's own retries."""
    import kfp
    from kfp_server_api.rest import RESTClientObject

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # With a namespace other than KFP's default, the constructor skips its own health check, which retries for 25 s.
        client = kfp.Client(host=host, namespace="-", existing_token=os.environ.get(TOKEN_VARIABLE))
    api_client = client.runs.run_service_get_run.__self__.api_client
    api_client.configuration.retries = False
    api_client.rest_client = RESTClientObject(api_client.configuration)
    return api_client


def _check_health(service: Any, host: str, timeout: float) -> dict[str, Any]:
    """Returns the health that KFP reports. The field names differ between the API server and the UI in front of it."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    def ask() -> Any:
        return service.healthz_service_get_healthz(_preload_content=False, _request_timeout=PROBE_TIMEOUTS)

    try:
        answer = call_with_retry(ask, seconds=timeout, passing=unready)
        health = json.loads(answer.data)
    except (ApiException, HTTPError) as error:
        if getattr(error, "status", None) in NOT_KFP:
            raise _not_kfp(host) from None
        raise translate_errors(error, host, "the health check") from None
    except ValueError:
        raise _not_kfp(host) from None
    if not isinstance(health, dict) or not health.keys() & {"multi_user", "apiServerReady"}:
        raise _not_kfp(host)
    return health


def _not_kfp(host: str) -> ClusterError:
    return ClusterError(
        f"{host} is not Kubeflow Pipelines, or requires a login: {host.rstrip('/')}/apis/v2beta1/healthz returned an "
        f"unexpected response. Use a URL such as {EXAMPLE}, and set {TOKEN_VARIABLE} if KFP requires a token"
    )
