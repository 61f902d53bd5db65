"""The composition root: settings in, an application out. Only here are parts put together."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from litestar import Litestar, Response
from litestar.exceptions import HTTPException
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from msgspec.structs import replace

from adapters.providers import PROVIDERS, Provider
from adapters.registry import spoken
from facade import gauges
from facade.admission import Admission, Room
from facade.ask import Identity
from facade.auth import Keyring
from facade.config import ConfigError, Settings, UpstreamSettings
from facade.discovery import Discovery
from facade.edge import Door, Edge, Handle
from facade.errors import BadRequest
from facade.idempotency import Idempotency
from facade.keys import confined, keyring
from facade.limits.buckets import Store
from facade.limits.charges import Limits, buckets
from facade.limits.grammar import parse
from facade.limits.memory import MemoryStore
from facade.limits.places import Places, Standing
from facade.limits.settings import MEMORY
from facade.listening import ServerSettings, is_loopback
from facade.metrics import Family, Metrics
from facade.pipeline import Pipeline, Policy
from facade.routes.admin import AdminFace
from facade.routes.metrics import MetricsFace
from facade.routes.openai import BUSIEST, OpenAIFace
from facade.routes.operations import OperationsFace
from facade.routing import Routing
from facade.turns import Lane
from facade.upstreams import Traits, Upstream
from facade.waits import Loop
from facade.warming import warmings
from facade.wire.direct_client import DirectConnections
from facade.wire.httpx_client import HttpxConnections
from facade.wire.site import Site, site_of
from facade.wire.upstream import Connections, Endpoint

if TYPE_CHECKING:
    from facade.limits.shared import SharedStore  # few have it, and it takes long to load

_METADATA_CONNECTIONS: Final = 4
Routes = Mapping[str, tuple[Handle, tuple[str, ...]]]


class Application:
    """The framework's; and the paths for which nobody need ask the framework.

    `operations` is an application of its own, for whoever can reach its listener.
    """

    def __init__(
        self, busy: Mapping[bytes, Door], operations: ASGIApp, framework: Litestar
    ) -> None:
        self.busy = busy
        self.operations = operations
        self._framework = framework

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        door = None
        if "method" in scope:  # which a web socket and the lifespan have none of
            door = self.busy.get(scope.get("raw_path", b""))
        await (door or self._framework)(scope, receive, send)


def build(settings: Settings) -> Application:
    """The application, of one loop: that of its first request or of the start of serving.

    Nothing is connected before. Raises ConfigError for an upstream that cannot be connected to.
    """
    upstreams = upstreams_of(settings)
    discovery = Discovery(upstreams, local_only=confined(settings.keys))
    routing = Routing(settings.models, discovery)
    store = _store(settings.store.url)
    queues = {
        name: _queue(upstreams[name], it, store)
        for name, it in settings.upstreams.items()
        if it.slots or it.embedding_slots
    }
    limits = _limits(settings, store)
    metrics = Metrics()
    warming = warmings(upstreams, queues)
    policy = Policy(settings.server, queues, metrics, limits, warming)
    pipeline = Pipeline(routing, discovery, upstreams, policy)
    metrics.gauges = lambda: _gauges(pipeline, policy)
    edge = Edge(settings.server, keyring(settings.keys, settings.server.pepper), _new_id)
    openai = OpenAIFace(pipeline, discovery, routing, _identify).routes()
    counted = MetricsFace(metrics).routes()
    keyed = openai | AdminFace(queues).routes() | counted
    public = OperationsFace(discovery)
    once = Idempotency()
    routes = {
        path: edge(once(handle) if "POST" in methods else handle, *methods)
        for path, (handle, methods) in keyed.items()
    }
    unkeyed = public.routes()
    routes |= {path: edge(it, *methods, public=True) for path, (it, methods) in unkeyed.items()}

    @asynccontextmanager
    async def serving(_: Litestar) -> AsyncIterator[None]:
        discovery.refresh()
        yield
        await once.close()
        for close in (discovery.close, *(each.close for each in warming.values())):
            close()
        for upstream in upstreams.values():
            await upstream.close()
        await store.close()

    framework = Litestar(
        _handlers(routes),
        lifespan=[serving],
        exception_handlers={HTTPException: _refused},
        openapi_config=None,
        logging_config=None,
    )
    operations = _operations(settings.server, public.probes() | counted, public.nothing)
    return Application({path.encode(): routes[path] for path in BUSIEST}, operations, framework)


def _operations(server: ServerSettings, routes: Routes, nothing: Handle) -> ASGIApp:
    """These paths alone, without keys; beyond loopback under any name of the host."""
    hosts = server.allowed_hosts if is_loopback(server.ops_host) else ("*",)
    anybody = Edge(replace(server, allowed_hosts=hosts), Keyring("", {}), _new_id)
    doors = {path: anybody(it, *methods, public=True) for path, (it, methods) in routes.items()}
    elsewhere = anybody(nothing, public=True)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await doors.get(cast(HTTPScope, scope)["path"], elsewhere)(scope, receive, send)

    return application


def _refused(_: object, error: HTTPException) -> Response[bytes]:
    """What the framework refuses before any route sees it (a Host that is none), in our form."""
    failure = BadRequest(error.detail, code="invalid_host")
    headers = {"x-request-id": f"req_{_new_id()}"}
    return Response(failure.body(), status_code=failure.status, headers=headers)


def _handlers(routes: Mapping[str, ASGIApp]) -> list[ASGIRouteHandler]:
    """Exact paths as such; what stands below a path that ends in a slash is found by ourselves."""
    below = {path: route for path, route in routes.items() if path.endswith("/")}
    mounted = ASGIRouteHandler("/", is_mount=True, copy_scope=True)(_deepest(below))
    exact = (
        ASGIRouteHandler(path, copy_scope=False)(route)
        for path, route in routes.items()
        if path not in below
    )
    return [*exact, mounted]


def _deepest(routes: Mapping[str, ASGIApp]) -> ASGIApp:
    """The route with the longest path above the request's (the framework takes any)."""
    paths = sorted(routes, key=len, reverse=True)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        asked = cast(HTTPScope, scope)["raw_path"].decode("latin-1")
        path = next(path for path in paths if asked.startswith(path) or path == "/")
        await routes[path](scope, receive, send)

    return application


def upstreams_of(settings: Settings) -> dict[str, Upstream]:
    """By name. Raises ConfigError for one whose connections cannot be made."""
    return {name: _upstream(name, it) for name, it in settings.upstreams.items()}


def _upstream(name: str, settings: UpstreamSettings) -> Upstream:
    base_url, _, query = settings.base_url.partition("?")
    endpoint = Endpoint(
        base_url=base_url,
        query=query,
        headers=_credentials(settings),
        connect_timeout=settings.timeouts.connect,
        connections=settings.connections,
        proxy=settings.proxy,
        ca_file=str(settings.ca_file) if settings.ca_file else None,
        client_cert=str(settings.client_cert) if settings.client_cert else None,
        local=bool(settings.local),
        environment_proxies=not settings.local,
    )
    traits = Traits(
        timeouts=settings.timeouts,
        options=settings.options,
        model_options={name: model.options for name, model in settings.models.items()},
        keep_alive=settings.keep_alive,
        local=bool(settings.local),
    )
    try:
        site = site_of(endpoint)
        connections = connections_to(site)
        metadata = connections_to(replace(site, connections=_METADATA_CONNECTIONS))
    except ValueError as error:
        raise ConfigError(f"upstreams.{name}: {error}") from None
    dialect = spoken(settings.dialect, settings.vendor)
    return Upstream(name, dialect, traits, connections, metadata)


def _limits(settings: Settings, store: Store) -> Limits | None:
    """None where nothing is limited."""
    tables = {
        "key": {name: it.limits for name, it in settings.keys.items()},
        "model": {name: it.limits for name, it in settings.models.items()},
        "upstream": {name: it.limits for name, it in settings.upstreams.items()},
    }
    named = {
        scope: {name: buckets(scope, name, limits) for name, limits in table.items() if limits}
        for scope, table in tables.items()
    }
    near = [parse(limit) for limit in settings.server.ip_limits]
    limited = near or any(named.values())
    return Limits(store, named, near) if limited else None


def _store(url: str) -> MemoryStore | SharedStore:
    if url == MEMORY:
        return MemoryStore(time.monotonic)
    from facade.limits.shared import SharedStore, connected  # noqa: PLC0415 - see above

    return SharedStore(connected(url))


def _queue(
    upstream: Upstream, settings: UpstreamSettings, store: MemoryStore | SharedStore
) -> Admission:
    room = Room(settings.slots, settings.embedding_slots, settings.queue)
    loading, now = upstream.loading, Loop().time
    if loading:
        queue = Admission(upstream.name, room, now, loading.memory, loading.together)
        loading.heard = queue.look
    else:
        queue = Admission(upstream.name, room, now, lambda: None)
    if not isinstance(store, MemoryStore):
        queue.places = _places(upstream.name, settings, store)
    return queue


def _places(name: str, settings: UpstreamSettings, store: Standing) -> dict[Lane, Places]:
    """Where it is reached by loopback it is another one on each machine."""
    near = is_loopback(urlsplit(settings.base_url).hostname or "")
    named = f"{socket.gethostname()}/{name}" if near else name
    lanes: dict[Lane, int | None] = {
        "generation": settings.slots,
        "embedding": settings.embedding_slots,
    }
    return {lane: Places(store, f"{named}/{lane}", slots) for lane, slots in lanes.items() if slots}


def _gauges(pipeline: Pipeline, policy: Policy) -> Iterator[Family]:
    yield from gauges.of_the_facade()
    yield from gauges.of_breakers(pipeline.breakers, asyncio.get_running_loop().time())
    yield from gauges.of_queues(policy.queues)
    yield from gauges.of_limits(policy.limits)


def connections_to(site: Site) -> Connections:
    """httpx's where the way leads through a proxy, else the direct client's. Raises ValueError."""
    return HttpxConnections(site) if site.proxy else DirectConnections(site)


def _credentials(settings: UpstreamSettings) -> Mapping[str, str]:
    row = PROVIDERS[settings.vendor] if settings.vendor else Provider()
    return row.credentials(settings.api_key) if settings.api_key else {}


def _drawn(size: int) -> list[str]:
    """Many ids: each drawing is a system call."""
    drawn = secrets.token_hex(256 * size // 2)
    return [drawn[start : start + size] for start in range(0, len(drawn), size)]


_new_id: Final = chain.from_iterable(map(_drawn, repeat(24))).__next__


def _identify() -> Identity:
    return Identity(_new_id(), int(time.time()))
