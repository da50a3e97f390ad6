"""A line to an object store with flaws: refuses, drops or holds up requests, loses, spoils or cuts off answers, and
remembers what passed."""

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
FLAWS = (*BUSY, "dropped", "hung", "lost")  # a status, half read and closed or left open, passed on without an answer
ABOUT_A_BUCKET = re.compile(r"/storage/v1/b/[^/?]+(\?|$)")
NOT_PASSED_ON = {"connection", "content-length", "date", "server", "transfer-encoding"}


class Line(ThreadingHTTPServer):
    """Which requests go wrong, how many contents are still to be spoiled or cut off, and what passed.

    Attributes:
        flaws: of the next requests, one of FLAWS or any other status each.
        drawn, share: where there are no such flaws, what that share of all requests gets is drawn with.
        injected: how often each flaw has been.
        requests: headers and body of each request, in order.
        fetched: bytes of content that came back.
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
        super().__init__(("127.0.0.1", 0), _Passer)

    @property
    def endpoint(self) -> str:
        """URL of this end."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_flaw(self) -> str:
        """What goes wrong with a request; empty for nothing."""
        flaw = self.flaws.popleft() if self.flaws else ""
        if not flaw and self.drawn and self.drawn.random() < self.share:
            flaw = self.drawn.choice(FLAWS)
        if flaw:
            self.injected[flaw] += 1
        return flaw


class _Passer(BaseHTTPRequestHandler):
    server: Line
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        flaw = "" if self.is_background() else self.server.next_flaw()
        broken_off = flaw in ("dropped", "hung")
        body = self.rfile.read(length // 2 if broken_off else length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not self.is_background():
            self.server.requests.append((headers, body))
        if broken_off:
            self.server.closing.wait(timeout=None if flaw == "hung" else 0)
            self.close_connection = True
            return
        if flaw.isdigit():
            self.answer(int(flaw), [], b"")
        else:
            self.pass_on(body, headers, lost=flaw == "lost")

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def is_background(self) -> bool:
        """Whether it is what Google's client asks about a bucket in a thread of its own, for its traces."""
        return self.command == "GET" and bool(ABOUT_A_BUCKET.search(self.path))

    def pass_on(self, body: bytes, headers: dict[str, str], *, lost: bool) -> None:
        """Has the store answer."""
        store = http.client.HTTPConnection(self.server.store.netloc)
        store.request(self.command, self.path, body, {**headers, "connection": "close"})
        found = store.getresponse()
        kept = [(name, value) for name, value in found.getheaders() if name.lower() not in NOT_PASSED_ON]
        length = found.getheader("Content-Length") if self.command == "HEAD" else None
        content = self.pointing_here(found.read())
        if lost:
            self.close_connection = True
        else:
            self.answer(found.status, kept, content, length)

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
        if is_content and self.server.cut:
            self.server.cut -= 1
            body, self.close_connection = body[: len(body) // 2], True
        elif is_content and self.server.spoiled:
            self.server.spoiled -= 1
            body = body[:-1] + bytes([body[-1] ^ 1])
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
            server.closing.set()
            server.shutdown()
            thread.join()
