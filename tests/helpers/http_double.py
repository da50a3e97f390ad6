"""A local HTTP server for tests, with routes, injected faults and a record of the requests."""

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
    """A request. `query` keeps one value per name."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class ErrorResponse(Exception):  # noqa: N818  a response, not a failure of the test
    """A response with a status other than 200."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


@dataclass
class Fault:
    """Returns `status` for the next `times` requests that match. With `lost`, the request is carried out first."""

    method: str
    path: str
    status: int
    times: int = 1
    lost: bool = False
    body: Any = field(default_factory=lambda: {"message": "injected by the test"})


class Double:
    """An HTTP API. Subclasses define `routes`: method, path pattern, and a handler that returns JSON or text."""

    routes: list[tuple[str, str, Callable[..., Any]]]

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.url = ""
        self._lock = threading.Lock()

    def paths(self, *methods: str) -> list[str]:
        """Returns the paths of the requests with one of these methods."""
        return [request.path for request in self.requests if request.method in methods]

    def answer(self, request: Request) -> tuple[int, Any]:
        with self._lock:
            self.requests.append(request)
            fault = self._fault(request)
            if fault and not fault.lost:
                return fault.status, fault.body
            try:
                content = self._route(request)
            except ErrorResponse as error:
                return error.status, error.body
            return (fault.status, fault.body) if fault else (200, content)

    def error_body(self, status: int, message: str) -> Any:
        """Returns the body of an error response of this API."""
        return {"message": message}

    def authorize(self, request: Request) -> None:
        """Raises `ErrorResponse` for a request that is not authorized or malformed."""

    def _route(self, request: Request) -> Any:
        self.authorize(request)
        for method, pattern, handler in self.routes:
            match = re.fullmatch(pattern, request.path)
            if method == request.method and match:
                return handler(request, *match.groups())
        raise ErrorResponse(404, self.error_body(404, f"no route {request.method} {request.path}"))

    def _fault(self, request: Request) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == request.method and re.fullmatch(fault.path, request.path):
                fault.times -= 1
                return fault
        return None


@contextmanager
def serve(double: Double) -> Iterator[Double]:
    """Serves the double on a free local port and sets its `url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # otherwise the body, a second write, is delayed by 40 ms

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

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = _handle  # noqa: N815  the names that http.server calls

        def log_message(self, *arguments: Any) -> None:
            """Logs nothing: the requests are recorded in `requests`."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        double.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
