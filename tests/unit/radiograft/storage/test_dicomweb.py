"""DICOMweb services that differ from the standard or redirect; tests/integration/test_pacs.py uses a real one."""

from __future__ import annotations

import contextlib
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from radiograft import storage
from radiograft.storage import retry
from radiograft.storage.dicomweb_uri import parse_object
from tests.helpers.http_double import Double, Request, serve

UIDS = [f"1.2.{number}" for number in range(5)]


def result(**values: str) -> dict[str, object]:
    return {tag.removeprefix("x"): {"vr": "UI", "Value": [value]} for tag, value in values.items()}


class Pacs(Double):
    """A service with a radiograph in each of five studies.

    Attributes:
        most: results of a page.
        pages: whether it observes `offset`.
    """

    most, pages = 2, True

    def __init__(self) -> None:
        super().__init__()
        self.routes = [("GET", "/studies", self.studies), ("GET", "/studies/(.+)/instances", self.instances)]

    def studies(self, request: Request) -> object:
        first = int(request.query["offset"]) if self.pages else 0
        return [result(x0020000D=uid) for uid in UIDS[first : first + self.most]]

    def instances(self, request: Request, study: str) -> object:
        if request.query["offset"] != "0":
            return []
        return [result(x0020000D=study, x0020000E="1.9", x00080018=study.replace("1.2", "1.7"), x00080060="DX")]


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with serve(Pacs()) as double:
        assert isinstance(double, Pacs)
        yield double


def names(pacs: Pacs) -> list[str]:
    return [entry.name for entry in storage.list_files(pacs.url.replace("http", "dicomweb+http"))]


def test_list_files_service_with_smaller_pages_lists_all(pacs: Pacs) -> None:
    """Fails if a page that is shorter than requested ends the search."""
    assert names(pacs) == [f"1.2.{n}/1.9/1.7.{n}" for n in range(5)]


def test_list_files_service_that_ignores_offset_ends(pacs: Pacs) -> None:
    """Fails if the search never ends."""
    pacs.most, pacs.pages = 5, False
    assert len(names(pacs)) == 5


@pytest.mark.parametrize(
    "answer", ["<html>Log in</html>", ["1.2.3"], [{}], [result(x0020000D="")], {"message": "hello"}, 7]
)
def test_list_files_answer_of_other_server_raises(pacs: Pacs, answer: object) -> None:
    pacs.routes.insert(0, ("GET", "/studies", lambda request: answer))
    with pytest.raises(
        storage.StorageError, match=r"^data_source must be the root of a DICOMweb service, such as dicomweb"
    ):
        names(pacs)


@pytest.mark.parametrize("uid", ["", "../../patients", "1.2/../3", "..", "1.2 3"])
def test_list_files_invalid_uid_raises(pacs: Pacs, uid: str) -> None:
    """Fails if a server can make the client request or name something else."""
    instance = result(x0020000D="1.2.0", x0020000E=uid, x00080018="1.7.0")
    pacs.routes.insert(0, ("GET", "/studies/(.+)/instances", lambda request, study: [instance]))
    with pytest.raises(storage.StorageError, match="must be the root of a DICOMweb service"):
        names(pacs)


@contextlib.contextmanager
def responding(respond: Callable[[BaseHTTPRequestHandler], None], certificate: Path | None = None) -> Iterator[int]:
    """Starts a server, with HTTPS if it has a certificate, and yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            respond(self)

        def log_message(self, *arguments: object) -> None:
            """Logs nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("variables", [("USER", "PASSWORD"), ("TOKEN",)])
def test_read_bytes_redirect_to_other_host_gets_no_credentials(
    variables: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the password of the PACS reaches whatever host a response names."""
    for name in variables:
        monkeypatch.setenv(f"RADIOGRAFT_DICOMWEB_{name}", "secret")
    seen: list[dict[str, str]] = []

    def content(handler: BaseHTTPRequestHandler) -> None:
        seen.append({name.lower(): value for name, value in handler.headers.items()})
        handler.send_response(200)
        handler.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=x')
        handler.end_headers()
        handler.wfile.write(b"--x\r\nContent-Type: application/dicom\r\n\r\nDICM\r\n--x--\r\n")

    with responding(content) as elsewhere:

        def redirect(handler: BaseHTTPRequestHandler) -> None:
            seen.append({name.lower(): value for name, value in handler.headers.items()})
            handler.send_response(302)
            handler.send_header("Location", f"http://localhost:{elsewhere}/x")
            handler.end_headers()

        with responding(redirect) as first:
            assert storage.read_bytes(f"dicomweb+http://127.0.0.1:{first}/1.2/1.3/1.4") == b"DICM"
    assert ["authorization" in headers for headers in seen] == [True, False]


@pytest.mark.parametrize("parts", [b"--x--\r\n", b"--x\r\n\r\nA\r\n--x\r\n\r\nB\r\n--x--\r\n"])
def test_read_bytes_not_one_part_raises(parts: bytes) -> None:
    def content(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=x')
        handler.end_headers()
        handler.wfile.write(parts)

    with (
        responding(content) as port,
        pytest.raises(storage.StorageError, match="must be the root of a DICOMweb service"),
    ):
        storage.read_bytes(f"dicomweb+http://127.0.0.1:{port}/1.2/1.3/1.4")


def test_read_bytes_single_part_without_envelope_is_read() -> None:
    """Some services send the file itself."""

    def content(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/dicom")
        handler.end_headers()
        handler.wfile.write(b"DICM")

    with responding(content) as port:
        assert storage.read_bytes(f"dicomweb+http://127.0.0.1:{port}/1.2/1.3/1.4") == b"DICM"


def test_read_bytes_certificate_must_be_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if any server that answers in place of the PACS gets the password."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: no certificate to test with")
    certificate = tmp_path / "server.pem"
    key = tmp_path / "key.pem"
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *named]
    subprocess.run(command, check=True, capture_output=True)
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    requests_with_password: list[str] = []

    def content(handler: BaseHTTPRequestHandler) -> None:
        requests_with_password.append(handler.headers["Authorization"])
        handler.send_response(200)
        handler.send_header("Content-Type", "application/dicom")
        handler.end_headers()
        handler.wfile.write(b"DICM")

    monkeypatch.setenv("RADIOGRAFT_DICOMWEB_TOKEN", "secret")
    with responding(content, certificate) as port:
        root = f"dicomweb://127.0.0.1:{port}"
        message = re.escape(f"the certificate of {root} must be valid; set REQUESTS_CA_BUNDLE to the file of your own ")
        with pytest.raises(storage.StorageError, match=f"^{message}"):
            storage.read_bytes(f"{root}/1.2/1.3/1.4")
        assert requests_with_password == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert storage.read_bytes(f"{root}/1.2/1.3/1.4") == b"DICM"


def test_send_password_without_encryption_warns(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADIOGRAFT_DICOMWEB_TOKEN", "t0ken-7")
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_SECONDS", 0.0)
    with pytest.raises(storage.StorageError, match="cannot be reached"):
        storage.read_bytes("dicomweb+http://pacs.invalid/1.2/1.3/1.4")
    assert "credentials are sent without encryption: use dicomweb:// if the service supports HTTPS" in caplog.text
    assert "t0ken-7" not in caplog.text


def test_parse_object_uri_with_query_and_digits_in_path() -> None:
    uids = parse_object("dicomweb://pacs:8443/dicom-web/2.1/rs?StudyDate=2020/1.2/1.3/1.4")
    assert uids == ("dicomweb://pacs:8443/dicom-web/2.1/rs?StudyDate=2020", "1.2", "1.3", "1.4")
    assert parse_object("dicomweb://pacs/1.2/1.3") is None
