"""Serving: the listeners, our server in front of the application, and what runs beside it."""

from __future__ import annotations

import errno
import gc
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

import uvicorn
from msgspec import Struct

from facade.config import Settings
from facade.embedded import Engine

_DRAIN: Final = 10  # seconds that answers under way have after SIGTERM
_COLLECT_EVERY: Final = 10_000  # containers; a request makes and frees some hundred
_KEEP_ALIVE: Final = 75  # seconds; longer than clients and ingresses keep, so that they close first
_PLAIN: Final[Mapping[str, Any]] = {  # of both listeners
    "ws": "none",
    "log_config": None,
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,  # X-Forwarded-For is believed only from configured proxies
}


class CannotListen(Exception):
    """One sentence for the operator."""


class Beside(Struct, frozen=True):
    """What comes with the application: the operations' own listener, the engine, and a word as
    soon as both answer.
    """

    operations: socket.socket | None
    engine: Engine | None
    greet: Callable[[], None]


def listen(host: str, port: int, other: str) -> socket.socket:
    """A listener; `other` is how another port is taken. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        place = f"{host}, port {port}"
        if error.errno == errno.EADDRINUSE:
            way_out = f"stop what listens there, or take another port with {other}"
            raise CannotListen(f"{place} is in use: {way_out}") from None
        reason = str(error.strerror).partition(" (")[0]
        raise CannotListen(f"cannot listen on {place}: {reason}") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    return listener


def port_of(listener: socket.socket) -> int:
    """The port that it has, where it was to take any."""
    port: int = listener.getsockname()[1]
    return port


def url(host: str, port: int) -> str:
    """One of this machine's where every interface is listened on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def configured(settings: Settings) -> uvicorn.Config:
    """The server of the application. Raises ConfigError for what cannot be built."""
    from facade.app import build  # noqa: PLC0415 - nothing else needs the whole application
    from facade.wire.server import Protocol  # noqa: PLC0415 - the same

    return uvicorn.Config(
        build(settings),
        http=Protocol,
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_DRAIN,
        **_PLAIN,
    )


def serve(settings: Settings, beside: Beside, listener: socket.socket) -> None:
    """Serve until a signal ends it. Raises EngineFailed."""
    Server(configured(settings), beside).run(sockets=[listener])


class Server(uvicorn.Server):
    """Runs what is beside it while it serves."""

    def __init__(self, config: uvicorn.Config, beside: Beside) -> None:
        super().__init__(config)
        self._beside = beside
        self._operations = _operations(config) if beside.operations else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._beside.engine:
            await self._beside.engine.start()
        await super().startup(sockets=sockets)
        if self._operations and self._beside.operations:
            await self._operations.startup(sockets=[self._beside.operations])
        _collect_less()
        self._beside.greet()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets=sockets)
        if self._operations and self._beside.operations:  # which tell of the others' drain
            await self._operations.shutdown(sockets=[self._beside.operations])
        if self._beside.engine:
            await self._beside.engine.stop()


def _operations(config: uvicorn.Config) -> uvicorn.Server:
    """The server of the operations' listener."""
    server = uvicorn.Server(
        uvicorn.Config(
            config.app.operations,  # type: ignore[union-attr] # of facade.app.Application
            http="httptools",
            lifespan="off",
            timeout_graceful_shutdown=1,
            **_PLAIN,
        )
    )
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    return server


def _collect_less() -> None:
    """What is there now stays: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 20)
