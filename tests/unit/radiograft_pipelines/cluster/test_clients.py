"""Wrong hosts and failing servers: one clear message each, within seconds, and no traceback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from radiograft_pipelines.cluster.errors import short_message
from tests.helpers.http_double import Double, Fault, serve
from tests.helpers.kfp_double import KfpDouble
from tests.helpers.recordings import read_recording
from tests.unit.radiograft_pipelines.conftest import Radiograft

RUNS = "/apis/v2beta1/runs"


class Website(Double):
    """Returns a page for every path, like a web server that is not KFP, or one that requires a login."""

    routes = [("GET", "/.*", lambda _: "<html>Welcome</html>")]  # noqa: RUF012


@pytest.fixture
def unresponsive() -> Iterator[str]:
    """The URL of a server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _error(radiograft: Radiograft, *arguments: str) -> str:
    """Returns the one line that a failing command prints."""
    result = radiograft(*arguments)
    assert result.exit_code == 1, result.output
    (line,) = result.output.splitlines()
    return line.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("", "--host or KFP_ENDPOINT must give KFP's URL, such as http://localhost:8080 after "),
        (
            "kfp.example",
            "--host must begin with http:// or https://, got 'kfp.example'; did you mean 'http://kfp.example'?",
        ),
        ("localhost:8080", "--host must begin with http:// or https://, got 'localhost:8080'"),
        ("http://", "--host must contain a host name, got 'http://'"),
        (
            "http://127.0.0.1:1",
            "http://127.0.0.1:1 cannot be reached: [Errno 111] Connection refused. Check the address ",
        ),
        ("http://kfp.invalid", "http://kfp.invalid cannot be reached: Failed to resolve 'kfp.invalid'"),
    ],
)
def test_connect_invalid_host_reports_error(radiograft: Radiograft, host: str, message: str) -> None:
    assert _error(radiograft, "runs", "--host", host).startswith(message)


def test_connect_https_to_http_server_reports_error(radiograft: Radiograft, kfp: KfpDouble) -> None:
    host = kfp.url.replace("http://", "https://")
    assert _error(radiograft, "runs", "--host", host).startswith(f"{host} cannot be reached: SSLError: ")


def test_connect_not_kfp_reports_error_within_five_seconds(radiograft: Radiograft) -> None:
    with serve(Website()) as website:
        began = time.monotonic()
        assert _error(radiograft, "runs", "--host", website.url).startswith(
            f"{website.url} is not Kubeflow Pipelines, or requires a login: "
        )
    assert time.monotonic() - began < 5


def test_connect_unresponsive_server_reports_error_within_five_seconds(
    radiograft: Radiograft, unresponsive: str
) -> None:
    began = time.monotonic()
    assert "cannot be reached" in _error(radiograft, "runs", "--host", unresponsive)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [404, 405, 500])
def test_connect_server_without_health_check_is_not_kfp(radiograft: Radiograft, kfp: KfpDouble, status: int) -> None:
    kfp.faults = [Fault("GET", "/apis/v2beta1/healthz", status)]
    assert _error(radiograft, "runs").startswith(f"{kfp.url} is not Kubeflow Pipelines")


def test_connect_kfp_ui_is_accepted(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.health = {"apiServerReady": True, "apiServerTagName": "2.17.0", "frontendTagName": "2.17.0"}
    assert radiograft("runs").exit_code == 0


def test_connect_redirect_reports_login(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.faults = [Fault("GET", "/apis/v2beta1/healthz", 302)]
    message = _error(radiograft, "runs")
    assert message.startswith(f"{kfp.url} redirected the request for the health check, possibly to a login page")


def test_connect_token_is_sent_with_every_request(
    radiograft: Radiograft, kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.token = "fresh"
    monkeypatch.setenv("KFP_TOKEN", "fresh")
    assert radiograft("runs").exit_code == 0
    monkeypatch.setenv("KFP_TOKEN", "stale")
    assert _error(radiograft, "runs") == (
        f"{kfp.url} returned 401 for the health check: set KFP_TOKEN to a valid token that has permission "
        "(Unauthorized: token expired)"
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "returned 401 for run r-1: set KFP_TOKEN to a valid token that has permission (what KFP says)"),
        (403, "returned 403 for run r-1: set KFP_TOKEN to a valid token that has permission (what KFP says)"),
        (404, "returned 404 for run r-1: it does not exist (what KFP says)"),
        (409, "returned 409 for run r-1: it already exists (what KFP says)"),
        (500, "returned 500 for run r-1; KFP also returns 500 for an unknown ID (what KFP says)"),
        (418, "returned 418 for run r-1 (what KFP says)"),
    ],
)
def test_call_error_status_reports_message(radiograft: Radiograft, kfp: KfpDouble, status: int, message: str) -> None:
    kfp.faults = [Fault("GET", f"{RUNS}/r-1", status, times=9, body=kfp.error_body(status, "what KFP says"))]
    assert _error(radiograft, "runs", "r-1") == f"{kfp.url} {message}"
    assert kfp.paths("GET").count(f"{RUNS}/r-1") == 1


def test_submit_unknown_version_reports_error(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.faults = [Fault("POST", RUNS, 500, body=kfp.error_body(500, "PipelineVersion v-9 not found"))]
    places = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
    message = _error(radiograft, "submit", "--settings", "chestxray14", *places)
    assert message.startswith(f"{kfp.url} returned 500 for the run 'radiograft-transfer-learning ")
    assert message.endswith("(PipelineVersion v-9 not found)")
    assert kfp.paths("POST").count(RUNS) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_call_server_never_ready_fails_after_timeout(radiograft: Radiograft, kfp: KfpDouble, status: int) -> None:
    kfp.faults = [Fault("GET", f"{RUNS}/r-1", status, times=99)]
    message = _error(radiograft, "runs", "r-1", "--timeout", "1")
    assert message == (
        f"{kfp.url} is not ready: it returned {status} for run r-1 until the timeout (injected by the test)"
    )
    assert 1 < kfp.paths("GET").count(f"{RUNS}/r-1") < 9


def test_runs_imports_no_heavy_packages() -> None:
    code = """
import sys
from radiograft_pipelines.cli.main import main
print({"kfp", "kubernetes", "tensorflow", "keras"} & sys.modules.keys())
try:
    main(["runs", "--host", "http://127.0.0.1:1"], standalone_mode=False)
except Exception as error:
    print(error)
print({"tensorflow", "keras"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, message, last = done.stdout.splitlines()
    assert (first, last) == ("set()", "set()")
    assert message.startswith("http://127.0.0.1:1 cannot be reached")


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        ("run_unknown", "Run 00000000-0000-0000-0000-000000000000 not found"),
        ("retry_of_running", "Workflow must be Failed/Error to retry"),
        ("terminate_answers_500", "Failed to terminate a run 0cdf24fe-012a-4720-8251-020709ea1320. Row not found"),
    ],
)
def test_short_message_recorded_error_returns_detail(recording: str, message: str) -> None:
    assert short_message(json.dumps(read_recording(recording))) == message
