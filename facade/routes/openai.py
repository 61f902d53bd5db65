"""The OpenAI face: /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models.

Source: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from adapters.dialect import Completes, Dialect, Embeds, Encoded, Reply, Target
from adapters.errors import InvalidRequest
from adapters.wire import Message
from facade.discovery import Discovery
from facade.edge import Handle, Request
from facade.errors import NotFound, told
from facade.faces import requests
from facade.faces.chat import ChatFace
from facade.faces.completions import CompletionFace
from facade.pipeline import JSON, Ask, Face, Identity, Pipeline
from facade.wire.answer import AnswerWriter

_MEDIA: Final = ("image_url", "input_audio", "file")
Model = dict[str, object]


class OpenAIFace:
    """The handlers. `identify` gives a new answer's id and time."""

    def __init__(
        self,
        pipeline: Pipeline,
        discovery: Discovery,
        aliases: Mapping[str, Sequence[str]],
        identify: Callable[[], Identity],
    ) -> None:
        self._pipeline = pipeline
        self._discovery = discovery
        self._identify = identify
        started = identify().created
        self._aliases = [_model(name, started, "facade") for name in aliases if "*" not in name]

    def routes(self) -> dict[str, tuple[Handle, tuple[str, ...]]]:
        """Each path (one that ends in a slash: all below it) with its handler and methods."""
        return {
            "/v1/chat/completions": (self.chat, ("POST",)),
            "/v1/completions": (self.completion, ("POST",)),
            "/v1/embeddings": (self.embedding, ("POST",)),
            "/v1/models": (self.models, ("GET",)),
            "/v1/models/": (self.models, ("GET",)),
        }

    async def chat(self, request: Request, answer: AnswerWriter) -> None:
        call = requests.chat(request.body)
        asked = call.request
        ask = Ask(
            model=asked.model,
            encode=lambda dialect, target: dialect.encode_chat(call, target),
            face=lambda reply: ChatFace(asked, reply),
            streamed=bool(asked.stream),
            media=any(map(_has_media, asked.messages)),
        )
        await self._pipeline.run(ask, self._identify(), answer)

    async def completion(self, request: Request, answer: AnswerWriter) -> None:
        call = requests.completion(request.body)
        asked = call.request

        def encode(dialect: Dialect, target: Target) -> Sequence[Encoded]:
            if not isinstance(dialect, Completes):
                raise _lacks("text completions", target)
            return dialect.encode_completion(call, target)

        ask = Ask(
            model=asked.model,
            encode=encode,
            face=lambda reply: CompletionFace(asked, reply),
            streamed=bool(asked.stream),
        )
        await self._pipeline.run(ask, self._identify(), answer)

    async def embedding(self, request: Request, answer: AnswerWriter) -> None:
        call = requests.embedding(request.body)

        def encode(dialect: Dialect, target: Target) -> Sequence[Encoded]:
            if not isinstance(dialect, Embeds):
                raise _lacks("embeddings", target)
            return [dialect.encode_embeddings(call, target)]

        ask = Ask(model=call.request.model, encode=encode, face=_no_face)
        await self._pipeline.run(ask, self._identify(), answer)

    async def models(self, request: Request, answer: AnswerWriter) -> None:
        """All models, or the one whose id stands in the path."""
        models = await self._listed()
        wanted = request.path.removeprefix("/v1/models").strip("/")
        said = _the_one(models, wanted) if wanted else {"object": "list", "data": models}
        answer.whole(200, JSON, msgspec.json.encode(said))

    async def _listed(self) -> list[Model]:
        """Aliases, then each upstream's models; the first of a name wins, as in routing."""
        refreshing = self._discovery.refresh()
        if refreshing is not None:
            await refreshing
        listings = self._discovery.listings.values()
        found = {model["id"]: model for model in self._aliases}
        for listing in listings:
            for model in listing.models:
                found.setdefault(model.id, _model(model.id, model.created, model.owned_by))
        failed = [listing.error for listing in listings if listing.error]
        if not found and failed:
            raise told(failed[0])
        return list(found.values())


def _model(id: str, created: int, owned_by: str) -> Model:  # noqa: A002 - OpenAI's name
    return {"id": id, "object": "model", "created": created, "owned_by": owned_by}


def _the_one(models: list[Model], wanted: str) -> Model:
    for model in models:
        if model["id"] in (wanted, f"{wanted}:latest", wanted.removesuffix(":latest")):
            return model | {"id": wanted}
    raise NotFound(f"the model '{wanted}' does not exist", param="model", code="model_not_found")


def _has_media(message: Message) -> bool:
    content = message.content
    return isinstance(content, list) and any(part.type in _MEDIA for part in content)


def _lacks(what: str, target: Target) -> InvalidRequest:
    return InvalidRequest(
        f"the upstream '{target.upstream}' has no {what}", "model", "unsupported_model"
    )


def _no_face(reply: Reply) -> Face:
    raise NotImplementedError(reply)  # embeddings come whole from every dialect
