"""The outer layer of every route: who may ask, how much, what is told, what is logged.

It stands in front of the handlers as plain ASGI, not as middleware of the framework, so that
each rule also holds where a route is served without the framework.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, cast
from urllib.parse import quote, unquote

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from msgspec import Struct

from adapters.errors import UpstreamError
from adapters.rate_limits import SHOWN
from facade.config import ServerSettings
from facade.errors import FacadeError, Forbidden, MethodNotAllowed, Stopping, told
from facade.faces import sse
from facade.wire.answer import AnswerWriter
from facade.wire.asgi import read_body
from facade.wire.connection import Connection, Stalls
from facade.wire.hang_up import Client, until_hang_up
from facade.wire.server import CONNECTION

_log = logging.getLogger("facade.requests")

_EXPOSED: Final = (
    "x-request-id, retry-after, retry-after-ms, x-should-retry, "
    "x-facade-upstream, x-facade-model, x-facade-attempts, "
    "x-facade-fallback, x-facade-warning, " + ", ".join(SHOWN)
)


class Request(Struct, frozen=True):
    """A request that was let in. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


Handle = Callable[[Request, AnswerWriter], Awaitable[None]]


class Edge:
    """`ids` gives a new id with each call: letters and digits, never the same twice."""

    def __init__(self, server: ServerSettings, ids: Callable[[], str]) -> None:
        self._server = server
        self._ids = ids
        self._stalls = Stalls(server.client_idle)

    def __call__(self, handle: Handle, *methods: str) -> ASGIApp:
        """`handle` as an ASGI application that answers these methods (none: all of them)."""

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            began = time.perf_counter()
            visit = _Visit(self, handle, methods, f"req_{self._ids()}")
            await visit.read(cast(HTTPScope, scope), receive, self._server.max_body)
            extensions = scope.get("extensions") or {}
            connection = cast(Connection | None, extensions.get(CONNECTION))
            client = Client(receive, send, connection)
            status = await until_hang_up(client, self._stalls, visit.answer, visit.stop)
            if _log.isEnabledFor(logging.INFO):
                visit.log(status, time.perf_counter() - began)

        return application

    def admit(self, request: Request, scheme: str) -> None:
        """Without keys, whoever reaches us is answered: so a web page must not reach us."""
        host = request.headers.get("host", "").lower()
        self._check_host(host)
        origin = request.headers.get("origin")
        if not origin or origin.lower() == f"{scheme}://{host}":
            return
        if origin not in self._server.cors_allow_origins:
            raise Forbidden(
                f"the origin '{origin}' is not allowed: see server.cors_allow_origins",
                code="origin_not_allowed",
            )

    def _check_host(self, host: str) -> None:
        allowed = self._server.allowed_hosts
        if "*" in allowed or host in allowed:
            return
        name, _, port = host.rpartition(":")
        name = name if port.isdigit() else host
        if name not in allowed:
            raise Forbidden(
                f"the host '{name}' is not served: see server.allowed_hosts",
                code="host_not_allowed",
            )

    def cors(self, request: Request) -> dict[str, str]:
        origin = request.headers.get("origin")
        if origin is None or origin not in self._server.cors_allow_origins:
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": _EXPOSED,
            "vary": "origin",
        }


class _Visit:
    """One request on its way through the edge."""

    request: Request

    def __init__(self, edge: Edge, handle: Handle, methods: tuple[str, ...], id_: str) -> None:
        self._edge = edge
        self._handle = handle
        self._methods = methods
        self._id = id_
        self._refused: FacadeError | None = None

    async def read(self, scope: HTTPScope, receive: Receive, most: int) -> None:
        """The request; a body beyond `most` bytes, or of a request that is refused, is not read."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        path = unquote(scope["raw_path"].decode("latin-1"))  # `path` is cut where routes mount
        method = scope["method"]
        self.request = Request(method, path, headers)
        try:
            self._edge.admit(self.request, scope.get("scheme", "http"))
            preflight = method == "OPTIONS" and "origin" in headers
            if self._methods and method not in self._methods and not preflight:
                raise MethodNotAllowed(path, method, self._methods)
            self.request = Request(method, path, headers, await read_body(receive, most))
        except FacadeError as refused:
            self._refused = refused

    async def answer(self, answer: AnswerWriter) -> None:
        answer.headers["x-request-id"] = self._id
        answer.headers |= self._edge.cors(self.request)
        try:
            if self._refused is not None:
                raise self._refused
            if self._methods and self.request.method == "OPTIONS":
                answer.whole(200, _preflight(self.request, self._methods), b"")
            else:
                await self._handle(self.request, answer)
        except Exception as error:  # noqa: BLE001 - the border: the caller is told of any
            _tell(error, answer)

    def stop(self, answer: AnswerWriter) -> None:
        _tell(Stopping("the facade is being stopped: try again"), answer)

    def log(self, status: int | None, took: float) -> None:
        """`took` is in seconds."""
        said = (self.request.method, quote(self.request.path), status or "left", took * 1000)
        _log.info("%s %s %s %.0f ms %s", *said, self._id)


def _preflight(request: Request, methods: tuple[str, ...]) -> dict[str, str]:
    return {
        "access-control-allow-methods": ", ".join(methods),
        "access-control-allow-headers": request.headers.get("access-control-request-headers", ""),
        "access-control-max-age": "600",
    }


def _tell(error: Exception, answer: AnswerWriter) -> None:
    """The error in OpenAI's form: as the answer, or as the stream's last event."""
    failure = told(error)
    request_id = answer.headers["x-request-id"]
    if isinstance(error, UpstreamError):  # its words may quote the prompt: only the kind is logged
        _log.warning("%s: upstream %s %s", request_id, error.kind.value, error.status or "")
    elif failure.status >= 500:
        _log.error("%s: %s", request_id, error, exc_info=error)
    if answer.started:
        answer.write(sse.error_event(failure))
        answer.end()
    else:
        answer.whole(failure.status, failure.headers(), failure.body())
