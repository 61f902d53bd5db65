"""The OpenAI face: /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models.

Source: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from adapters.dialect import Completes, Dialect, Embeds, Encoded, Reply, Target
from adapters.errors import InvalidRequest
from adapters.wire import LONGEST_NAME, CompletionCall, Message
from facade import needs, tokens
from facade.ask import Ask, Face, Identity
from facade.auth import Caller, may
from facade.constraints import demanded
from facade.discovery import Discovery
from facade.edge import Handle, Request
from facade.errors import BadRequest, Forbidden, NotFound, told
from facade.faces import requests
from facade.faces.chat import ChatFace
from facade.faces.completions import CompletionFace
from facade.limits import estimates
from facade.pipeline import Pipeline
from facade.relay import JSON
from facade.routing import Routing
from facade.waits import Wait, result_of
from facade.wire.answer import AnswerWriter

PATIENCE: Final = "x-facade-patience"
_MEDIA: Final = ("image_url", "input_audio", "file")
BUSIEST: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
Model = dict[str, object]


class OpenAIFace:
    """The handlers. `identify` gives a new answer's id and time."""

    def __init__(
        self,
        pipeline: Pipeline,
        discovery: Discovery,
        routing: Routing,
        identify: Callable[[], Identity],
    ) -> None:
        self._pipeline = pipeline
        self._discovery = discovery
        self._routing = routing
        self._identify = identify
        started = identify().created
        self._aliases = {name: _model(name, started, "facade") for name in routing.names}

    def routes(self) -> dict[str, tuple[Handle, tuple[str, ...]]]:
        """Each path (one that ends in a slash: all below it) with its handler and methods."""
        return {
            "/v1/chat/completions": (self.chat, ("POST",)),
            "/v1/completions": (self.completion, ("POST",)),
            "/v1/embeddings": (self.embedding, ("POST",)),
            "/v1/models": (self.models, ("GET",)),
            "/v1/models/": (self.model, ("GET",)),
        }

    def chat(self, request: Request, answer: AnswerWriter) -> Awaitable[None]:
        call = requests.chat(request.body)
        asked = call.request
        ask = Ask(
            model=asked.model,
            input="messages",
            encode=lambda dialect, target: dialect.encode_chat(call, target),
            face=lambda reply: ChatFace(asked, reply),
            size=lambda: estimates.of_chat(asked),
            needs=lambda: needs.of_chat(call),
            caller=request.caller,
            address=request.address,
            patience=_patience(request.headers),
            streamed=bool(asked.stream),
            media=lambda: _has_media(asked.messages),
            constraints=demanded(request.caller.constraints, request.headers, asked.constraints),
        )
        return self._run(ask, answer)

    def completion(self, request: Request, answer: AnswerWriter) -> Awaitable[None]:
        call = requests.completion(request.body)
        asked = call.request

        def encode(dialect: Dialect, target: Target) -> Sequence[Encoded] | Wait[Sequence[Encoded]]:
            completes = _completes(dialect)  # type: ignore[arg-type]  # as any object, by identity
            if completes is None:
                raise _lacks("text completions", target)

            def encoded(call: CompletionCall) -> Sequence[Encoded]:
                nonlocal asked
                asked = call.request  # what is echoed is text
                return completes.encode_completion(call, target)

            return tokens.readable(call, "prompt", encoded, takes_tokens=completes.takes_tokens)

        ask = Ask(
            model=asked.model,
            input="prompt",
            encode=encode,
            face=lambda reply: CompletionFace(asked, reply),
            size=lambda: estimates.of_completion(call.request),
            needs=lambda: needs.of_completion(call),
            caller=request.caller,
            address=request.address,
            patience=_patience(request.headers),
            streamed=bool(asked.stream),
            constraints=demanded(request.caller.constraints, request.headers, asked.constraints),
        )
        return self._run(ask, answer)

    def embedding(self, request: Request, answer: AnswerWriter) -> Awaitable[None]:
        call = requests.embedding(request.body)

        def encode(dialect: Dialect, target: Target) -> Sequence[Encoded] | Wait[Sequence[Encoded]]:
            embeds = _embeds(dialect)  # type: ignore[arg-type]  # the same
            if embeds is None:
                raise _lacks("embeddings", target)
            return tokens.readable(
                call,
                "input",
                lambda call: [embeds.encode_embeddings(call, target)],
                takes_tokens=embeds.takes_tokens,
            )

        asked = call.request
        ask = Ask(
            model=asked.model,
            input="input",
            encode=encode,
            face=_no_face,
            size=lambda: estimates.of_embeddings(asked),
            needs=lambda: needs.of_embedding(call),
            caller=request.caller,
            address=request.address,
            patience=_patience(request.headers),
            lane="embedding",
            constraints=demanded(request.caller.constraints, request.headers, asked.constraints),
        )
        return self._run(ask, answer)

    def _run(self, ask: Ask, answer: AnswerWriter) -> Awaitable[None]:
        if ask.caller.models:
            self._check(ask.caller, ask.model)
        return self._pipeline.run(ask, self._identify(), answer)

    def _check(self, caller: Caller, model: str) -> None:
        """404 as OpenAI says it, the same whether there is such a model or not."""
        if not may(caller, model, self._discovery.listings):
            raise NotFound(
                f"the model '{model}' does not exist or your key may not use it: "
                "GET /v1/models lists those it may",
                param="model",
                code="model_not_found",
            )

    async def models(self, request: Request, answer: AnswerWriter) -> None:
        """All models that the caller may ask for."""
        models = await self._listed(request.caller)
        data = [model for name, model in models.items() if self._offers(request.caller, name)]
        said = {"object": "list", "data": data}
        answer.whole(200, JSON, msgspec.json.encode(said))

    async def model(self, request: Request, answer: AnswerWriter) -> None:
        """The model whose id stands in the path, by any name that it can be asked for."""
        wanted = request.path.removeprefix("/v1/models/")
        self._check(request.caller, wanted)
        if len(wanted) > LONGEST_NAME:
            raise self._routing.unknown(wanted)
        models = await self._listed(request.caller)
        said = models.get(wanted) if self._offers(request.caller, wanted) else None
        said = said or await self._routed(request.caller, wanted)
        answer.whole(200, JSON, msgspec.json.encode(said))

    async def _routed(self, caller: Caller, wanted: str) -> Model:
        try:
            plan = await result_of(self._routing.plan(wanted, caller.constraints))
        except Forbidden:  # it may be there, but not for this caller
            raise self._routing.unknown(wanted) from None
        route = plan.routes[0]
        listing = self._discovery.listings[route.upstream]
        found = listing.find(route.model)
        if found:
            return _model(wanted, found.created, found.owned_by)
        raise told(listing.error) if listing.error else self._routing.unknown(wanted)

    def _offers(self, caller: Caller, name: str) -> bool:
        """Whether the caller may ask for the name, and for a target that it may reach."""
        if not may(caller, name, self._discovery.listings):
            return False
        return caller.constraints is None or self._routing.serves(name, caller.constraints)

    async def _listed(self, caller: Caller) -> dict[str, Model]:
        """Aliases, then each upstream's models; the first of a name wins, as in routing."""
        local_only = caller.constraints is not None and caller.constraints.local_only
        refreshing = self._discovery.refresh(local_only=local_only)
        if refreshing is not None:
            await refreshing
        listings = self._discovery.listings.values()
        found = dict(self._aliases)
        for listing in listings:
            for model in listing.models:
                found.setdefault(model.id, _model(model.id, model.created, model.owned_by))
        failed = [listing.error for listing in listings if listing.error]
        if not found and failed:
            raise told(failed[0])
        return found


def _model(id: str, created: int, owned_by: str) -> Model:  # noqa: A002 - OpenAI's name
    return {"id": id, "object": "model", "created": created, "owned_by": owned_by}


def _patience(headers: Mapping[str, str]) -> float:
    """How many seconds the client will wait for slots. Raises BadRequest for what says no time."""
    said = headers.get(PATIENCE)
    if said is None:
        return math.inf
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", said, re.ASCII):
        raise BadRequest(
            f"expected seconds, like 20 or 0.5, but got '{said[:100]}'",
            param=PATIENCE,
            code="invalid_value",
        )
    return float(said)


def _has_media(messages: Sequence[Message]) -> bool:
    listed = [message.content for message in messages if isinstance(message.content, list)]
    return any(part.type in _MEDIA for parts in listed for part in parts)


# Asked once per dialect: to look for a protocol's verbs takes as long as all of the translation.


@lru_cache(maxsize=64)
def _completes(dialect: Dialect) -> Completes | None:
    return dialect if isinstance(dialect, Completes) else None


@lru_cache(maxsize=64)
def _embeds(dialect: Dialect) -> Embeds | None:
    return dialect if isinstance(dialect, Embeds) else None


def _lacks(what: str, target: Target) -> InvalidRequest:
    return InvalidRequest(
        f"the upstream '{target.upstream}' has no {what}", "model", "unsupported_model"
    )


def _no_face(reply: Reply) -> Face:
    raise NotImplementedError(reply)  # embeddings come whole from every dialect
