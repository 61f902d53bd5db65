"""Recorded requests put by the official SDK, and what must have reached the upstream of them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import httpx2  # the HTTP client of the SDK
from openai import AsyncOpenAI, omit
from openai.types.chat import ChatCompletion

from tests.recorded.clouds.exchanges import CHAT, Exchange, Json, Play

WAIT: Final = 20.0  # seconds; a bound, never reached where all is well


class Asked(NamedTuple):
    """A request as it is put, and its model there; `usage` is whether a stream's is asked."""

    fields: Json
    model: str
    streamed: bool
    usage: bool


def asked(
    exchange: Exchange, play: Play, deployment: str | None, *, minimal: bool = False
) -> Asked:
    """The recorded request, or the smallest of its kind that fits the answer.

    Where the model is a deployment, the caller names that, and the body's model says nothing.
    """
    fields = dict((not minimal and exchange.request) or _minimal(exchange))
    model = deployment or fields.get("model") or "m"
    fields["model"] = f"{exchange.id}/{model}"
    if exchange.wire != CHAT:
        fields.pop("encoding_format", None)
        return Asked(fields, model, streamed=False, usage=False)
    fields["stream"] = exchange.streamed
    options = fields.pop("stream_options", None) or {}
    usage = bool(options.get("include_usage")) if play.usage is None else play.usage
    if exchange.streamed and (options or usage):
        fields["stream_options"] = options | {"include_usage": usage}
    return Asked(fields, model, exchange.streamed, usage)


def _minimal(exchange: Exchange) -> Json:
    if exchange.wire == CHAT:
        return {"messages": [{"role": "user", "content": "Hi"}]}
    return {"input": "Hi"}


class _Tee(httpx2.AsyncHTTPTransport):
    """Keeps the bytes of the latest answer as they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = bytearray()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await super().handle_async_request(request)
        assert isinstance(answer.stream, httpx2.AsyncByteStream)
        self.heard = bytearray()
        answer.stream = _Heard(answer.stream, self.heard)
        return answer


class _Heard(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, heard: bytearray) -> None:
        self._stream = stream
        self._heard = heard

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            self._heard += piece
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


class Client:
    """The official SDK without its retries, kept for the whole run; one request at a time."""

    def __init__(self, url: str) -> None:
        self._tee = _Tee()
        self.sdk = AsyncOpenAI(
            base_url=url,
            api_key="sk-client",
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=self._tee, timeout=WAIT),
        )
        self._known = inspect.signature(self.sdk.chat.completions.create).parameters

    @property
    def heard(self) -> bytes:
        """The body of the latest answer, as far as it was read."""
        return bytes(self._tee.heard)

    async def chat(self, asked: Asked) -> Any:  # noqa: ANN401 - an answer, or a stream of chunks
        """Raises the SDK's errors."""
        if "_raw" in asked.fields:  # what is no JSON cannot be said by a method
            raw = asked.fields["_raw"].encode()
            return await self.sdk.post("/chat/completions", cast_to=ChatCompletion, content=raw)
        create: Any = self.sdk.chat.completions.create
        own = {name: value for name, value in asked.fields.items() if name in self._known}
        own.pop("extra_body", None)
        extra = {name: value for name, value in asked.fields.items() if name not in own}
        return await create(**{"messages": omit} | own, extra_body=extra)

    async def embed(self, asked: Asked, encoding: str | None) -> Any:  # noqa: ANN401 - the answer
        """Raises the SDK's errors."""
        create: Any = self.sdk.embeddings.create
        more = {} if encoding is None else {"encoding_format": encoding}
        return await create(**{"input": omit} | asked.fields | more)
