"""KFP's REST API of one host. kfp.Client settles where it is and as whom we speak; time-outs and retries are ours."""

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
RETRY_TIMEOUT_SECONDS = 60.0  # seconds until a server that is not ready is given up
TIMEOUTS = (3.0, 30.0)  # seconds to connect and to answer
PROBE_TIMEOUTS = (2.0, 2.5)  # together below the five seconds within which a wrong host is told
NOT_KFP = (400, 404, 405, 500, 501)  # what other servers say to the question for KFP's health
PAGE = 100
TOKEN_VARIABLE = "KFP_TOKEN"  # noqa: S105  a name, no password
EXAMPLE = "http://localhost:8080 after `kubectl port-forward --namespace kubeflow svc/ml-pipeline-ui 8080:80`"


@dataclass(frozen=True)
class KfpClient:
    """The services of KFP's REST API.

    Attributes:
        host: URL.
        namespace: where the pods of runs live.
        multi_user: whether KFP keeps its users apart.
        release: `2.17.0`, or empty where the server does not tell.
        timeout: seconds until a server that is not ready is given up.
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
        """The namespace as the API wants it: none where all users share everything."""
        return self.namespace if self.multi_user else None

    def call(self, subject: str, method: Callable[..., Answer], **arguments: Any) -> Answer:
        """One request that may be made twice without harm.

        Args:
            subject: what it is about, for the message of a failure.

        Raises:
            ClusterError: it failed, or went unanswered until the timeout.
        """
        return self.make_sure(subject, lambda: None, lambda: method(**arguments, _request_timeout=TIMEOUTS))

    def make_sure(self, subject: str, find: Callable[[], Answer | None], create: Callable[[], Answer]) -> Answer:
        """Finds something or creates it. Each try looks first: what an answer that got lost created is found then.

        Raises:
            ClusterError: as in `call`.
        """
        from kfp_server_api import ApiException
        from urllib3.exceptions import HTTPError

        def attempt() -> Answer:
            if found := find():
                return found
            try:
                return create()
            except ApiException as error:
                if error.status == 409 and (found := find()):  # somebody else was quicker
                    return found
                raise

        try:
            return call_with_retry(attempt, seconds=self.timeout)
        except (ApiException, HTTPError) as error:
            raise translate_errors(error, self.host, subject) from None

    def pages(self, subject: str, method: Callable[..., Any], field: str, **arguments: Any) -> Iterator[Any]:
        """Everything that a list method gives, page by page; `field` is what its answer calls the list."""
        token = ""
        while True:
            answer = self.call(subject, method, page_token=token, page_size=PAGE, **arguments)
            yield from getattr(answer, field) or ()
            token = answer.next_page_token
            if not token:
                return

    def link(self, run_id: str) -> str:
        """The run's page in the UI."""
        return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', self.host)}/#/runs/details/{run_id}"


def find_by_name(name: str) -> str:
    """The filter by which a list method gives what has this name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def connect(host: str | None, namespace: str, timeout: float = RETRY_TIMEOUT_SECONDS) -> KfpClient:
    """Reaches KFP and makes sure that it is KFP.

    Raises:
        ClusterError: no usable host, nobody there, or somebody else.
    """
    url = _checked(host)
    import kfp_server_api as api

    client = _api_client(url)
    health = _health(api.HealthzServiceApi(client), url, timeout)
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


def _checked(host: str | None) -> str:
    if not host:
        raise ClusterError(f"--host or KFP_ENDPOINT must give KFP's address, such as {EXAMPLE}")
    if not host.startswith(("http://", "https://")):
        raise ClusterError(f"--host must begin with http:// or https://, got {host!r}; did you mean 'http://{host}'?")
    if not urllib.parse.urlsplit(host).hostname:
        raise ClusterError(f"--host must name a machine, got {host!r}; an address is {EXAMPLE}")
    return host


def _api_client(host: str) -> Any:
    """The API client that kfp.Client sets up, without urllib3's own retries."""
    import kfp
    from kfp_server_api.rest import RESTClientObject

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        # A namespace other than KFP's default keeps the constructor from asking a stranger's health for 25 s.
        client = kfp.Client(host=host, namespace="-", existing_token=os.environ.get(TOKEN_VARIABLE))
    api_client = client.runs.run_service_get_run.__self__.api_client
    api_client.configuration.retries = False
    api_client.rest_client = RESTClientObject(api_client.configuration)
    return api_client


def _health(service: Any, host: str, timeout: float) -> dict[str, Any]:
    """What KFP says of itself; the API server and the UI in front of it call things differently."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    def ask() -> Any:
        return service.healthz_service_get_healthz(_preload_content=False, _request_timeout=PROBE_TIMEOUTS)

    try:
        answer = call_with_retry(ask, seconds=timeout, passing=unready)
        content = json.loads(answer.data)
    except (ApiException, HTTPError) as error:
        if getattr(error, "status", None) in NOT_KFP:
            raise _not_kfp(host) from None
        raise translate_errors(error, host, "the question for its health") from None
    except ValueError:
        raise _not_kfp(host) from None
    if not isinstance(content, dict) or not content.keys() & {"multi_user", "apiServerReady"}:
        raise _not_kfp(host)
    return content


def _not_kfp(host: str) -> ClusterError:
    return ClusterError(
        f"{host} is not Kubeflow Pipelines, or asks to log in first: {host.rstrip('/')}/apis/v2beta1/healthz does not "
        f"answer as KFP does. An address is {EXAMPLE}; a token goes into {TOKEN_VARIABLE}"
    )
