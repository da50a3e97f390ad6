"""A server on loopback that tests speak to over real HTTP: routes, faults to order, and a record of what was asked."""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    """What came in; `query` with one value a name."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Refused(Exception):  # noqa: N818  an answer, no failure of the test
    """An answer other than 200."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


@dataclass
class Fault:
    """Answers `status` to the next `times` requests of a method whose path matches; `lost`: after having done them."""

    method: str
    path: str
    status: int
    times: int = 1
    lost: bool = False
    body: Any = field(default_factory=lambda: {"message": "ordered by the test"})


class Double:
    """Subclasses give `routes`: method, pattern of the path, and what answers with JSON or text."""

    routes: list[tuple[str, str, Callable[..., Any]]]

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.faults: list[Fault] = []
        self.url = ""
        self._lock = threading.Lock()

    def methods(self, *methods: str) -> list[str]:
        """The paths asked with one of the methods."""
        return [each.path for each in self.asked if each.method in methods]

    def answer(self, request: Request) -> tuple[int, Any]:
        with self._lock:
            self.asked.append(request)
            fault = self._fault(request)
            if fault and not fault.lost:
                return fault.status, fault.body
            try:
                content = self._route(request)
            except Refused as refused:
                return refused.status, refused.body
            return (fault.status, fault.body) if fault else (200, content)

    def refusal(self, status: int, message: str) -> Any:
        """The body of an error in the API's form."""
        return {"message": message}

    def allow(self, request: Request) -> None:
        """Raises Refused for what may not come in at all."""

    def _route(self, request: Request) -> Any:
        self.allow(request)
        for method, pattern, handler in self.routes:
            found = re.fullmatch(pattern, request.path)
            if method == request.method and found:
                return handler(request, *found.groups())
        raise Refused(404, self.refusal(404, f"no route {request.method} {request.path}"))

    def _fault(self, request: Request) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == request.method and re.fullmatch(fault.path, request.path):
                fault.times -= 1
                return fault
        return None


@contextmanager
def served(double: Double) -> Iterator[Double]:
    """Serves the double on a free port of loopback and puts its URL into `url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes, the second of which would wait 40 ms

        def _handle(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parameters = {name: values[-1] for name, values in urllib.parse.parse_qs(query).items()}
            status, content = double.answer(
                Request(self.command, urllib.parse.unquote(path), parameters, dict(self.headers), body)
            )
            text = content if isinstance(content, str) else json.dumps(content)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = _handle  # noqa: N815  http.server's names

        def log_message(self, *arguments: Any) -> None:
            """Nothing: the record is in `asked`."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        double.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
