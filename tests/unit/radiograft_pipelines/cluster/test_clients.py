"""Wrong hosts and failing servers: one clear message each, soon, and no traceback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.helpers.http_double import Double, Fault, serve
from tests.helpers.kfp_double import KfpDouble
from tests.unit.radiograft_pipelines.conftest import Radiograft

RUNS = "/apis/v2beta1/runs"


class Website(Double):
    """Answers every path with a page, as a web server does that is not KFP, or one that asks to log in."""

    routes = [("GET", "/.*", lambda _: "<html>Welcome</html>")]  # noqa: RUF012


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _told(radiograft: Radiograft, *arguments: str) -> str:
    """The one line that a failing command prints."""
    result = radiograft(*arguments)
    assert result.exit_code == 1, result.output
    (line,) = result.output.splitlines()
    return line.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("", "--host or KFP_ENDPOINT must give KFP's address, such as http://localhost:8080 after "),
        (
            "kfp.example",
            "--host must begin with http:// or https://, got 'kfp.example'; did you mean 'http://kfp.example'?",
        ),
        ("localhost:8080", "--host must begin with http:// or https://, got 'localhost:8080'"),
        ("http://", "--host must name a machine, got 'http://'"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1 cannot be reached: [Errno 111] Connection refused. Is the address "),
        ("http://kfp.invalid", "http://kfp.invalid cannot be reached: Failed to resolve 'kfp.invalid'"),
    ],
)
def test_a_host_that_cannot_be_is_told(radiograft: Radiograft, host: str, message: str) -> None:
    assert _told(radiograft, "runs", "--host", host).startswith(message)


def test_https_to_a_server_of_http_is_told(radiograft: Radiograft, kfp: KfpDouble) -> None:
    host = kfp.url.replace("http://", "https://")
    assert _told(radiograft, "runs", "--host", host).startswith(f"{host} cannot be reached: SSLError: ")


def test_a_server_that_is_not_kfp_is_told_within_five_seconds(radiograft: Radiograft) -> None:
    with serve(Website()) as website:
        began = time.monotonic()
        assert _told(radiograft, "runs", "--host", website.url).startswith(
            f"{website.url} is not Kubeflow Pipelines, or asks to log in first: "
        )
    assert time.monotonic() - began < 5


def test_a_server_that_says_nothing_is_told_within_five_seconds(radiograft: Radiograft, silent: str) -> None:
    began = time.monotonic()
    assert "cannot be reached" in _told(radiograft, "runs", "--host", silent)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [404, 405, 500])
def test_a_server_without_kfps_health_is_not_kfp(radiograft: Radiograft, kfp: KfpDouble, status: int) -> None:
    kfp.faults = [Fault("GET", "/apis/v2beta1/healthz", status)]
    assert _told(radiograft, "runs").startswith(f"{kfp.url} is not Kubeflow Pipelines")


def test_the_ui_in_front_of_kfp_is_kfp(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.health = {"apiServerReady": True, "apiServerTagName": "2.17.0", "frontendTagName": "2.17.0"}
    assert radiograft("runs").exit_code == 0


def test_a_page_to_log_in_is_told(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.faults = [Fault("GET", "/apis/v2beta1/healthz", 302)]
    message = _told(radiograft, "runs")
    assert message.startswith(f"{kfp.url} sends the question for its health to another page, perhaps to log in")


def test_a_token_goes_with_every_request(
    radiograft: Radiograft, kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.token = "fresh"
    monkeypatch.setenv("KFP_TOKEN", "fresh")
    assert radiograft("runs").exit_code == 0
    monkeypatch.setenv("KFP_TOKEN", "stale")
    assert _told(radiograft, "runs") == (
        f"{kfp.url} answered 401 to the question for its health: the token has expired or lacks the right; "
        "put one into KFP_TOKEN (Unauthorized: token expired)"
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            401,
            "answered 401 to run r-1: the token has expired or lacks the right; put one into KFP_TOKEN (what KFP says)",
        ),
        (
            403,
            "answered 403 to run r-1: the token has expired or lacks the right; put one into KFP_TOKEN (what KFP says)",
        ),
        (404, "does not know run r-1 (what KFP says)"),
        (409, "has run r-1 already (what KFP says)"),
        (500, "answered 500 to run r-1, which is also KFP's answer to an id that it does not know (what KFP says)"),
        (418, "answered 418 to run r-1 (what KFP says)"),
    ],
)
def test_each_status_has_its_message(radiograft: Radiograft, kfp: KfpDouble, status: int, message: str) -> None:
    kfp.faults = [Fault("GET", f"{RUNS}/r-1", status, times=9, body=kfp.error_body(status, "what KFP says"))]
    assert _told(radiograft, "runs", "r-1") == f"{kfp.url} {message}"
    assert kfp.paths("GET").count(f"{RUNS}/r-1") == 1


def test_an_unknown_version_is_told(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.faults = [Fault("POST", RUNS, 500, body=kfp.error_body(500, "PipelineVersion v-9 not found"))]
    places = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
    message = _told(radiograft, "submit", "--settings", "chestxray14", *places)
    assert message.startswith(f"{kfp.url} answered 500 to the run 'radiograft-transfer-learning ")
    assert message.endswith("(PipelineVersion v-9 not found)")
    assert kfp.paths("POST").count(RUNS) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_never_ready_is_given_up_when_patience_ends(
    radiograft: Radiograft, kfp: KfpDouble, status: int
) -> None:
    kfp.faults = [Fault("GET", f"{RUNS}/r-1", status, times=99)]
    message = _told(radiograft, "runs", "r-1", "--timeout", "1")
    assert message == (
        f"{kfp.url} is not ready: it answered {status} to run r-1 until patience ran out (ordered by the test)"
    )
    assert 1 < kfp.paths("GET").count(f"{RUNS}/r-1") < 9


def test_nothing_heavy_is_imported() -> None:
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
