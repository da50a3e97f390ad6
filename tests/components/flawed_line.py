"""A line to an object store with flaws: refuses requests, spoils or cuts off answers, and remembers what passed."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

NOT_PASSED_ON = {"connection", "content-length", "date", "server", "transfer-encoding"}


class Line(ThreadingHTTPServer):
    """How many requests are still to be answered 503, how many contents to be spoiled or cut off, and what passed.

    Attributes:
        requests: headers and body of each request, in order.
        fetched: bytes of content that came back.
    """

    daemon_threads = True
    busy = spoiled = cut = fetched = 0

    def __init__(self, store: str) -> None:
        self.store = urlsplit(store)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _Passer)

    @property
    def endpoint(self) -> str:
        """URL of this end."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Passer(BaseHTTPRequestHandler):
    server: Line
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((headers, body))
        if self.server.busy:
            self.server.busy -= 1
            self.answer(503, [], b"")
            return
        store = http.client.HTTPConnection(self.server.store.netloc)
        store.request(self.command, self.path, body, {**headers, "connection": "close"})
        found = store.getresponse()
        kept = [(name, value) for name, value in found.getheaders() if name.lower() not in NOT_PASSED_ON]
        length = found.getheader("Content-Length") if self.command == "HEAD" else None
        self.answer(found.status, kept, self.pointing_here(found.read()), length)

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def pointing_here(self, body: bytes) -> bytes:
        """What the store tells of an object names the address of its content, to which a client would go directly."""
        if not body.lstrip().startswith(b"{"):
            return body
        return body.replace(self.server.store.netloc.encode(), urlsplit(self.server.endpoint).netloc.encode())

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: str | None = None) -> None:
        is_content = self.command == "GET" and bool(body) and not body.lstrip().startswith((b"<", b"{"))
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if is_content and self.server.spoiled:
            self.server.spoiled -= 1
            body = body[:-1] + bytes([body[-1] ^ 1])
        if is_content and self.server.cut:
            self.server.cut -= 1
            body, self.close_connection = body[: len(body) // 2], True
        self.server.fetched += len(body) * is_content
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def line_to(store: str) -> Iterator[Line]:
    """A line without flaws so far."""
    with Line(store) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
