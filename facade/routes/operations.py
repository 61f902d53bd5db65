"""What is not a model: front page, probes, documentation, and every path that is not there."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

import msgspec

from facade.discovery import Discovery
from facade.edge import Handle, Request
from facade.errors import MethodNotAllowed, NotFound
from facade.relay import JSON
from facade.routes import docs
from facade.wire.answer import AnswerWriter

_HTML: Final = {"content-type": "text/html; charset=utf-8"}
_LOOKS: Final = ("GET", "HEAD")
_PROBES: Final = ("/livez", "/readyz")
_LATER: Final = ("/v1/responses", "/v1/messages")
_BASES: Final = ("/chat/completions", "/completions", "/embeddings", "/models")


class OperationsFace:
    """The handlers for people and for orchestrators, who have no key: they tell nobody's secret."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    def routes(self) -> dict[str, tuple[Handle, tuple[str, ...]]]:
        """Each path (one that ends in a slash: all below it) with its handler and methods."""
        return {
            "/livez": (self.live, _LOOKS),
            "/readyz": (self.ready, _LOOKS),
            "/docs": (self.docs, _LOOKS),
            "/openapi.json": (self.openapi, _LOOKS),
            "/": (self.front, ()),
        }

    def probes(self) -> dict[str, tuple[Handle, tuple[str, ...]]]:
        """Those of the operations' own listener."""
        return {path: self.routes()[path] for path in _PROBES}

    async def nothing(self, request: Request, _: AnswerWriter) -> None:
        """All else there."""
        raise NotFound(
            f"there is no {request.path} here: this port has {', '.join(_PROBES)} and /metrics",
            code="unknown_url",
        )

    async def front(self, request: Request, answer: AnswerWriter) -> None:
        if request.path != "/":
            raise _missing(request)
        if request.method not in _LOOKS:
            raise MethodNotAllowed(request.path, request.method, _LOOKS)
        said = {
            "message": "facade is running: an OpenAI API at /v1",
            "version": version("facade"),
            "docs": "/docs",
        }
        answer.whole(200, JSON, msgspec.json.encode(said))

    async def live(self, _: Request, answer: AnswerWriter) -> None:
        answer.whole(200, JSON, b'{"status":"live"}')

    async def ready(self, _: Request, answer: AnswerWriter) -> None:
        """Ready as soon as requests are answered; an upstream that is down does not change that."""
        upstreams = {name: listing.state for name, listing in self._discovery.listings.items()}
        self._discovery.refresh()  # for who asks next: a probe does not wait for an upstream
        said = {"status": "ready", "upstreams": upstreams}
        answer.whole(200, JSON, msgspec.json.encode(said))

    async def docs(self, _: Request, answer: AnswerWriter) -> None:
        answer.whole(200, _HTML, docs.page())

    async def openapi(self, _: Request, answer: AnswerWriter) -> None:
        answer.whole(200, JSON, msgspec.json.encode(docs.openapi()))


def _missing(request: Request) -> NotFound:
    path = request.path
    if path.startswith(_LATER):
        hint = "use POST /v1/chat/completions"
    elif path.startswith(_BASES):
        host = request.headers.get("host", "this host")
        hint = f"the base_url of this API is http://{host}/v1"
    else:
        hint = "GET /docs lists what there is"
    return NotFound(f"there is no {path} here: {hint}", code="unknown_url")
