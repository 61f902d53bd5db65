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
from facade.auth import ANYBODY, Address, Caller, Keyring, Networks, address_of, sent_secret
from facade.errors import FacadeError, Forbidden, MethodNotAllowed, Stopping, Unauthorized, told
from facade.faces import sse
from facade.listening import ServerSettings
from facade.wire.answer import AnswerWriter
from facade.wire.asgi import read_body
from facade.wire.connection import Connection, Stalls
from facade.wire.hang_up import Client, until_hang_up
from facade.wire.server import CONNECTION

_log = logging.getLogger("facade.requests")

_EXPOSED: Final = (
    "x-request-id, retry-after, retry-after-ms, x-should-retry, "
    "x-facade-upstream, x-facade-model, x-facade-attempts, "
    "x-facade-fallback, x-facade-queue-ms, x-facade-warning, " + ", ".join(SHOWN)
)


class Request(Struct, frozen=True):
    """A request that was let in. Header names are in lower case; `address`: where it matters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    caller: Caller = ANYBODY
    address: Address | None = None


Handle = Callable[[Request, AnswerWriter], Awaitable[None]]


class Edge:
    """`ids` gives a new id with each call: letters and digits, never the same twice."""

    def __init__(self, server: ServerSettings, keyring: Keyring, ids: Callable[[], str]) -> None:
        self._server = server
        self._keyring = keyring
        self._ids = ids
        self._stalls = Stalls(server.client_idle)
        self._allowlist = Networks(server.ip_allowlist)
        self._proxies = Networks(server.trusted_proxies)
        self._looks_at_addresses = bool(self._allowlist or keyring.neighbours or server.ip_limits)

    def __call__(self, handle: Handle, *methods: str, public: bool = False) -> ASGIApp:
        """`handle` as an ASGI application that answers these methods (none: all of them).

        A `public` one asks for no key, and answers whatever address it is asked from.
        """

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            began = time.perf_counter()
            visit = _Visit(self, handle, methods, f"req_{self._ids()}")
            asked = cast(HTTPScope, scope)
            await visit.read(asked, receive, self._server.max_body, public=public)
            extensions = scope.get("extensions") or {}
            connection = cast(Connection | None, extensions.get(CONNECTION))
            client = Client(receive, send, connection)
            status = await until_hang_up(client, self._stalls, visit.answer, visit.stop)
            if _log.isEnabledFor(logging.INFO):
                visit.log(status, time.perf_counter() - began)

        return application

    def address(self, scope: HTTPScope) -> Address | None:
        """Where a request comes from, if that matters. Raises Forbidden where nobody may ask."""
        if not self._looks_at_addresses:
            return None
        peer = scope["client"]
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        address = address_of(peer[0] if peer else "", forwarded, self._proxies)
        if self._allowlist and address not in self._allowlist:
            raise Forbidden(
                "requests from this address are not answered: see server.ip_allowlist",
                code="ip_not_allowed",
            )
        return address

    def admit(
        self, headers: Mapping[str, str], scheme: str, address: Address | None, *, keyless: bool
    ) -> Caller:
        """Who asks. Raises Forbidden or Unauthorized for whoever may not."""
        host = headers.get("host", "").lower()
        if not self._keyring:
            self._check_host(host)
        self._check_origin(headers.get("origin"), f"{scheme}://{host}")
        return self._caller(headers, address) if self._keyring and not keyless else ANYBODY

    def _caller(self, headers: Mapping[str, str], address: Address | None) -> Caller:
        """Whom the secret names, or the address where none was sent."""
        secret = sent_secret(headers)
        if secret:
            caller = self._keyring.holder(secret)
            said = "the API key is not one of the facade's"
        else:
            caller = self._keyring.neighbour(address)
            said = "no API key was sent: the facade takes it as 'Authorization: Bearer KEY'"
        if caller is None:
            raise Unauthorized(said)
        if not secret:
            self._check_host(headers.get("host", "").lower())
        return caller

    def _check_origin(self, origin: str | None, own: str) -> None:
        """A web page may ask only where it is ours or allowed: it asks as whoever looks at it."""
        if not origin or origin.lower() == own or origin in self._server.cors_allow_origins:
            return
        raise Forbidden(
            f"the origin '{origin}' is not allowed: see server.cors_allow_origins",
            code="origin_not_allowed",
        )

    def _check_host(self, host: str) -> None:
        """For whoever sends no secret: under a name of its own a web page is of the same origin."""
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
    _preflight = False

    def __init__(self, edge: Edge, handle: Handle, methods: tuple[str, ...], id_: str) -> None:
        self._edge = edge
        self._handle = handle
        self._methods = methods
        self._id = id_
        self._refused: FacadeError | None = None

    async def read(self, scope: HTTPScope, receive: Receive, most: int, *, public: bool) -> None:
        """The request; a body beyond `most` bytes, or of a request that is refused, is not read."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        path = unquote(scope["raw_path"].decode("latin-1"))  # `path` is cut where routes mount
        method = scope["method"]
        self.request = Request(method, path, headers)
        self._preflight = bool(self._methods) and method == "OPTIONS" and "origin" in headers
        try:
            address = None if public else self._edge.address(scope)
            keyless = public or self._preflight  # which carries no key, and reaches no handler
            caller = self._edge.admit(
                headers, scope.get("scheme", "http"), address, keyless=keyless
            )
            if self._methods and method not in self._methods and not self._preflight:
                raise MethodNotAllowed(path, method, self._methods)
            body = await read_body(receive, most)
            self.request = Request(method, path, headers, body, caller, address)
        except FacadeError as refused:
            self._refused = refused

    async def answer(self, answer: AnswerWriter) -> None:
        answer.headers["x-request-id"] = self._id
        answer.headers |= self._edge.cors(self.request)
        try:
            if self._refused is not None:
                raise self._refused
            if self._preflight:
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
    elif failure is not error and failure.status >= 500:  # a bug of ours
        _log.error("%s: %s", request_id, error, exc_info=error)
    elif failure.status >= 500:
        _log.warning("%s: %s", request_id, failure.code)
    if answer.started:
        answer.write(sse.error_event(failure))
        answer.end()
    else:
        answer.whole(failure.status, failure.headers(), failure.body())
