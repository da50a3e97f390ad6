"""A proxy in front of an object store that rejects, drops or delays requests, loses, corrupts or cuts off responses,
and records the traffic."""

from __future__ import annotations

import collections
import contextlib
import http.client
import random
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

BUSY = ("503", "429", "408", "500")
FLAWS = (
    *BUSY,
    "dropped",
    "hung",
    "lost",
)  # a status; half read, then closed or left open; forwarded without a response
ABOUT_A_BUCKET = re.compile(r"/storage/v1/b/[^/?]+(\?|$)")
HOP_HEADERS = {"connection", "content-length", "date", "server", "transfer-encoding"}


class Line(ThreadingHTTPServer):
    """The proxy, its planned faults and the recorded traffic.

    Attributes:
        flaws: faults of the next requests, each one of FLAWS or an HTTP status.
        drawn, share: random generator and fraction of faulty requests if `flaws` is empty.
        spoiled, cut: number of responses that are still to be corrupted or cut off.
        injected: number of injected faults by kind.
        requests: headers and body of each request, in order.
        fetched: bytes of content returned.
    """

    daemon_threads = True
    spoiled = cut = fetched = 0
    drawn: random.Random | None = None
    share = 0.0

    def __init__(self, store: str) -> None:
        self.store = urlsplit(store)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.flaws, self.injected = collections.deque[str](), collections.Counter[str]()
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def endpoint(self) -> str:
        """URL of the proxy."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_flaw(self) -> str:
        """Returns the fault of the next request; empty for none."""
        flaw = self.flaws.popleft() if self.flaws else ""
        if not flaw and self.drawn and self.drawn.random() < self.share:
            flaw = self.drawn.choice(FLAWS)
        if flaw:
            self.injected[flaw] += 1
        return flaw


class _Handler(BaseHTTPRequestHandler):
    server: Line
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        flaw = "" if self.is_background() else self.server.next_flaw()
        is_cut_off = flaw in ("dropped", "hung")
        body = self.rfile.read(length // 2 if is_cut_off else length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not self.is_background():
            self.server.requests.append((headers, body))
        if is_cut_off:
            self.server.closing.wait(timeout=None if flaw == "hung" else 0)
            self.close_connection = True
            return
        if flaw.isdigit():
            self.answer(int(flaw), [], b"")
        else:
            self.forward(body, headers, lost=flaw == "lost")

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def is_background(self) -> bool:
        """Returns whether this is a request for bucket metadata that Google's client sends for its traces."""
        return self.command == "GET" and bool(ABOUT_A_BUCKET.search(self.path))

    def forward(self, body: bytes, headers: dict[str, str], *, lost: bool) -> None:
        """Forwards the request to the store and returns its response."""
        store = http.client.HTTPConnection(self.server.store.netloc)
        store.request(self.command, self.path, body, {**headers, "connection": "close"})
        response = store.getresponse()
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP_HEADERS]
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        content = self.replace_address(response.read())
        if lost:
            self.close_connection = True
        else:
            self.answer(response.status, kept, content, length)

    def replace_address(self, body: bytes) -> bytes:
        """Replaces the store's address in object metadata, because clients would use it to bypass the proxy."""
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
        if is_content and self.server.cut:
            self.server.cut -= 1
            body, self.close_connection = body[: len(body) // 2], True
        elif is_content and self.server.spoiled:
            self.server.spoiled -= 1
            body = body[:-1] + bytes([body[-1] ^ 1])
        if is_content:
            self.server.fetched += len(body)
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Disables the log."""


@contextlib.contextmanager
def line_to(store: str) -> Iterator[Line]:
    """Starts a proxy without faults."""
    with Line(store) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
