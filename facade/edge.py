"""The outer layer of every route: who may ask, how much, what is told, what is logged.

It stands in front of the handlers as plain ASGI, not as middleware of the framework, so that
each rule also holds where a route is served without the framework.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote

from litestar.types import Receive, Scope, Send
from msgspec import Struct

from adapters.errors import UpstreamError
from adapters.rate_limits import SHOWN
from facade.auth import ANYBODY, Address, Caller, Keyring, Networks, address_of, sent_secret
from facade.errors import FacadeError, Forbidden, MethodNotAllowed, Stopping, Unauthorized, told
from facade.faces import sse
from facade.listening import ServerSettings
from facade.waits import next_stage
from facade.wire.answer import Answer, AnswerWriter
from facade.wire.asgi import AsgiAnswer, Clients, read_body
from facade.wire.connection import Stalls
from facade.wire.head import ABORT, Entered, Head, Headers

_log = logging.getLogger("facade.requests")

_EXPOSED: Final = (
    "x-request-id, retry-after, retry-after-ms, x-should-retry, "
    "x-facade-upstream, x-facade-model, x-facade-attempts, "
    "x-facade-fallback, x-facade-queue-ms, x-facade-warning, idempotent-replayed, "
    + ", ".join(SHOWN)
)


class Request(Struct):
    """A request that was let in. `address`: where it matters."""

    method: str
    path: str
    headers: Headers
    body: bytes = b""
    caller: Caller = ANYBODY
    address: Address | None = None


Handle = Callable[[Request, AnswerWriter], Awaitable[None]]


class Edge:
    """`ids` gives a new id with each call: letters and digits, never the same twice."""

    def __init__(self, server: ServerSettings, keyring: Keyring, ids: Callable[[], str]) -> None:
        self._server = server
        self._keyring = keyring
        self._allowlist = Networks(server.ip_allowlist)
        self._proxies = Networks(server.trusted_proxies)
        self._looks_at_addresses = bool(self._allowlist or keyring.neighbours or server.ip_limits)
        self._keyed = bool(keyring)
        self._is_allowed = lru_cache(maxsize=64)(self._hosts)  # clients say few, again and again
        self.most = server.max_body
        self._new_id = ids
        self.clients = Clients(Stalls(server.client_idle))

    def __call__(self, handle: Handle, *methods: str, public: bool = False) -> Door:
        """`handle` as an application that answers these methods (none: all of them).

        A `public` one asks for no key, and answers whatever address it is asked from.
        """
        return Door(self, handle, methods, public=public)

    def admit(self, head: Head, *, public: bool, keyless: bool) -> tuple[Caller, Address | None]:
        """Who asks, and from where if that matters. Raises Forbidden or Unauthorized."""
        headers = head.headers
        address = None if public or not self._looks_at_addresses else self._address(head)
        if not self._keyed:
            self._check_host(headers.get("host", ""))
        origin = headers.get("origin")
        if origin:
            self._check_origin(origin, f"{head.scheme}://{headers.get('host', '').lower()}")
        caller = self._caller(headers, address) if self._keyed and not keyless else ANYBODY
        return caller, address

    def _address(self, head: Head) -> Address | None:
        """Where a request comes from. Raises Forbidden where nobody may ask."""
        forwarded = [value for name, value in head.headers.pairs if name == b"x-forwarded-for"]
        address = address_of(head.peer, forwarded, self._proxies)
        if self._allowlist and address not in self._allowlist:
            raise Forbidden(
                "requests from this address are not answered: see server.ip_allowlist",
                code="ip_not_allowed",
            )
        return address

    def _caller(self, headers: Headers, address: Address | None) -> Caller:
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
            self._check_host(headers.get("host", ""))
        return caller

    def _check_origin(self, origin: str, own: str) -> None:
        """A web page may ask only where it is ours or allowed: it asks as whoever looks at it."""
        if origin.lower() == own or origin in self._server.cors_allow_origins:
            return
        raise Forbidden(
            f"the origin '{origin}' is not allowed: see server.cors_allow_origins",
            code="origin_not_allowed",
        )

    def _check_host(self, host: str) -> None:
        """For whoever sends no secret: under a name of its own a web page is of the same origin."""
        if not self._is_allowed(host):
            raise Forbidden(
                f"the host '{_name_of(host.lower())}' is not served: see server.allowed_hosts",
                code="host_not_allowed",
            )

    def _hosts(self, host: str) -> bool:
        allowed, host = self._server.allowed_hosts, host.lower()
        return "*" in allowed or host in allowed or _name_of(host) in allowed

    def _cors(self, origin: str) -> dict[str, str]:
        if origin not in self._server.cors_allow_origins:
            return {}
        return {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": _EXPOSED,
            "vary": "origin",
        }

    async def serve(
        self, handle: Handle, request: Request, answer: Answer, began: float
    ) -> int | None:
        """Answer a request until its client is gone; the status it was answered with.

        None: the client left, or took nothing for too long and was cut. This is cancelled then,
        so that what `handle` holds is released. It is cancelled too where the server stops: the
        last word of an answer that has not ended says so. `began`: by time.perf_counter.
        """
        request_id = f"req_{self._new_id()}"
        answer.headers["x-request-id"] = request_id
        if "origin" in request.headers:
            answer.headers |= self._cors(request.headers["origin"])
        status = None
        try:
            try:
                await next_stage()
                await handle(request, answer)
            except Exception as error:  # noqa: BLE001 - the border: the caller is told of any
                _tell(error, answer)
                _let_go(error)
            if not answer.complete:
                await answer.sent()
            status = answer.status
        except asyncio.CancelledError:
            if not answer.given_up():
                _tell(Stopping("the facade is being stopped: try again"), answer)
                await answer.sent()
                status = answer.status
        finally:
            answer.close()
        if _log.isEnabledFor(logging.INFO):
            took = (time.perf_counter() - began) * 1000
            said = (request.method, quote(request.path), status or "left", took)
            _log.info("%s %s %s %.0f ms %s", *said, request_id)
        return status


class Door:
    """A route, as an ASGI application and as a busy path of our own server."""

    def __init__(
        self, edge: Edge, handle: Handle, methods: tuple[str, ...], *, public: bool
    ) -> None:
        self._edge = edge
        self._handle = handle
        self._methods = methods
        self._public = public
        self.most = edge.most
        self.stalls = edge.clients.stalls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        asked: Any = scope  # as ASGI gives it
        path = unquote(asked["raw_path"].decode("latin-1"))  # `path` is cut where routes mount
        headers = Headers(asked["headers"])
        peer, scheme = asked["client"], asked.get("scheme", "http")
        head = Head(asked["method"], path, headers, peer[0] if peer else "", scheme)
        request = Request(head.method, path, headers)
        handle = await self._read(request, head, receive)
        abort = (asked.get("extensions") or {}).get(ABORT)
        answer = AsgiAnswer(receive, send, self._edge.clients, abort)
        await answer.give(self._edge.serve(handle, request, answer, began))

    def enter(self, head: Head) -> Entered | None:
        """The way of requests with this head from their bodies on; None if they are refused."""
        try:
            caller, address = self._edge.admit(head, public=self._public, keyless=self._public)
        except FacadeError:
            return None
        handle, serve = self._handle, self._edge.serve
        method, path, headers = head.method, head.path, head.headers

        def entered(body: bytes, answer: Answer, began: float) -> Coroutine[Any, Any, int | None]:
            request = Request(method, path, headers, body, caller, address)
            return serve(handle, request, answer, began)

        return entered

    async def _read(self, request: Request, head: Head, receive: Receive) -> Handle:
        """What answers the request; a body that is too long, or of a refused one, is not read."""
        methods = self._methods
        preflight = bool(methods) and request.method == "OPTIONS" and "origin" in request.headers
        keyless = self._public or preflight  # which carries no key, and reaches no handler
        try:
            request.caller, request.address = self._edge.admit(
                head, public=self._public, keyless=keyless
            )
            if methods and request.method not in methods and not preflight:
                raise MethodNotAllowed(request.path, request.method, methods)
            request.body = await read_body(receive, self.most)
        except FacadeError as refused:
            return _refusal(refused)
        return _preflight(methods) if preflight else self._handle


def _refusal(error: FacadeError) -> Handle:
    async def refused(_: Request, __: AnswerWriter) -> None:
        raise error

    return refused


def _preflight(methods: tuple[str, ...]) -> Handle:
    """What answers a browser that asks which methods it may use."""

    async def told(request: Request, answer: AnswerWriter) -> None:
        asked = request.headers.get("access-control-request-headers", "")
        headers = {
            "access-control-allow-methods": ", ".join(methods),
            "access-control-allow-headers": asked,
            "access-control-max-age": "600",
        }
        answer.whole(200, headers, b"")

    return told


def _let_go(error: BaseException | None) -> None:
    """Frames that know an error, and that it knows, would hold the request until a collection."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _name_of(host: str) -> str:
    """A Host without its port."""
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host


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
