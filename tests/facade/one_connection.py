"""A connection of our own server, without a socket."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from facade.wire.answer import Answer
from facade.wire.connection import Stalls
from facade.wire.head import Entered, Head
from facade.wire.server import Protocol

MOST: Final = 100  # bytes of a body
Seen = list[tuple[str, ...]]


class Application:
    """Tells what it was asked. A body with a `w` is answered after a while, with a `z` never."""

    most = MOST
    stalls = Stalls(60)

    def __init__(self) -> None:
        self.busy = {b"/busy": self}
        self.seen: Seen = []
        self.entered = 0

    def enter(self, head: Head) -> Entered | None:
        if head.headers.get("key") == "wrong":
            return None
        self.entered += 1
        known = sorted(head.headers.items())

        async def entered(body: bytes, answer: Answer, _: float) -> None:
            self.seen.append(("short", str(known), str(body)))
            if b"z" in body:
                await asyncio.sleep(1e6)
            if b"w" in body:
                for _ in range(3):
                    await asyncio.sleep(0)
            answer.whole(200, {}, body)
            answer.close()

        return entered

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        body = b""
        more = scope["path"] != "/refused"
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message["body"]
            more = message["more_body"]
        self.seen.append(("long", scope["method"], scope["path"], str(body)))
        if b"z" in body:
            await asyncio.sleep(1e6)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Socket:
    def setsockopt(self, *_: object) -> None: ...

    def getpeername(self) -> tuple[str, int]:
        return ("127.0.0.1", 1)

    getsockname = getpeername


class Transport:
    """The client's side: all that was written to it."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = False

    def get_extra_info(self, name: str) -> object:
        return _Socket() if name == "socket" else None

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def connected(keep_alive: int = 75) -> tuple[Application, Transport, Protocol]:
    application, transport = Application(), Transport()
    config = Config(
        application,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=keep_alive,
    )
    config.load()
    connection = Protocol(config, ServerState(), {})
    connection.connection_made(transport)  # type: ignore[arg-type] # as far as it is asked
    return application, transport, connection
