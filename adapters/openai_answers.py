"""Whole answers of OpenAI-shaped upstreams: forwarded as they are where they keep the rules.

Source: https://platform.openai.com/docs/api-reference/chat/object, .../completions/object,
.../embeddings/object and .../models/list
"""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw, Struct, field

from adapters import openai_glance as glance
from adapters.dialect import Model, Reply, Whole
from adapters.errors import broken
from adapters.openai_calls import call_id, text_of
from adapters.patching import Inside, patched
from adapters.wire import NULL, EmbeddingRequest, Usage


class _Vector(Struct, frozen=True):
    embedding: Raw


class _Embedded(glance.Body, frozen=True):
    data: list[_Vector] = field(default_factory=list)
    usage: glance.Counts | None = None


class _Listed(Struct, frozen=True):
    id: str
    created: int | None = None
    owned_by: str | None = None


class _Listing(glance.Body, frozen=True):
    data: list[_Listed] = field(default_factory=list)


_embedded = msgspec.json.Decoder(_Embedded)
_listing = msgspec.json.Decoder(_Listing)
_floats = msgspec.json.Decoder(list[float])
_string = msgspec.json.Decoder(str)


class Form(NamedTuple):
    """What tells a chat completion from a text completion. `mend` says what breaks a rule."""

    prefix: str
    object: str
    mend: Callable[[int, glance.Choice, Reply], Inside]


def completion(form: Form, body: bytes, reply: Reply) -> Whole:
    """A completion, patched where it breaks a rule."""
    answer = glance.read(glance.answers, body)
    if not answer.choices:
        raise broken("the upstream's answer has no choices")
    changes = Inside()
    if not answer.id:
        changes["id"] = form.prefix + reply.id
    if answer.object != form.object:
        changes["object"] = form.object
    if not answer.created:
        changes["created"] = reply.created
    if not answer.model:
        changes["model"] = reply.model
    mended = Inside(
        (place, changed)
        for place, choice in enumerate(answer.choices)
        if (changed := form.mend(place, choice, reply))
    )
    if mended:
        changes["choices"] = mended
    return Whole(patched(body, changes), answer.usage.usage() if answer.usage else None)


def _mend_chat(place: int, choice: glance.Choice, reply: Reply) -> Inside:
    message, changes, inside = choice.message, _mend_choice(place, choice), Inside()
    if message is None and not choice.finish_reason:
        raise broken("a choice of the upstream's answer has no message")
    if message is None:  # a filter took it
        message, inside["content"] = glance.Message(), NULL
    if not choice.finish_reason:
        changes["finish_reason"] = "tool_calls" if message.tool_calls else "stop"
    if not message.role:
        inside["role"] = "assistant"
    calls = Inside(
        (number, changed)
        for number, call in enumerate(message.tool_calls or ())
        if (changed := _mend_call(call, call_id(reply, place, number)))
    )
    if calls:
        inside["tool_calls"] = calls
    if inside:
        changes["message"] = inside
    return changes


def _mend_text(place: int, choice: glance.Choice, _: Reply) -> Inside:
    changes = _mend_choice(place, choice)
    if choice.text is None:
        changes["text"] = ""
    if not choice.finish_reason:
        changes["finish_reason"] = "stop"
    return changes


def _mend_choice(place: int, choice: glance.Choice) -> Inside:
    return Inside(index=place) if choice.index is None else Inside()


def _mend_call(call: glance.Call, fresh_id: str) -> Inside:
    changes = Inside()
    if not call.id:
        changes["id"] = fresh_id
    if not call.type:
        changes["type"] = "function"
    if call.function:
        arguments = text_of(call.function.arguments) or "{}"
        if arguments != call.function.arguments:
            changes["function"] = Inside(arguments=arguments)
    return changes


CHAT: Final = Form("chatcmpl-", "chat.completion", _mend_chat)
TEXT: Final = Form("cmpl-", "text_completion", _mend_text)


def embeddings(request: EmbeddingRequest, body: bytes, _: Reply) -> Whole:
    """Vectors in the format that the caller asked, as many as there were inputs."""
    answer = glance.read(_embedded, body)
    expected = _inputs(request)
    if len(answer.data) != expected:
        raise broken(f"the upstream gave {len(answer.data)} embeddings for {expected} inputs")
    as_base64 = request.encoding_format == "base64"
    converted = Inside(
        (place, Inside(embedding=_converted(bytes(vector.embedding), as_base64)))
        for place, vector in enumerate(answer.data)
        if bytes(vector.embedding).startswith(b'"') is not as_base64
    )
    if converted:
        body = patched(body, Inside(data=converted))
    counted = answer.usage.prompt_tokens if answer.usage else None
    return Whole(body, Usage(counted or 0, 0, partial=counted is None))


def models(body: bytes) -> list[Model]:
    """/models."""
    return [
        Model(id=model.id, created=model.created or 0, owned_by=model.owned_by or "unknown")
        for model in glance.read(_listing, body).data
    ]


def _inputs(request: EmbeddingRequest) -> int:
    given = request.input
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        return 1
    return len(given)


def _converted(vector: bytes, as_base64: bool) -> str | list[float]:
    """The same numbers in the other format; OpenAI packs them as little-endian float32."""
    try:
        if as_base64:
            floats = _floats.decode(vector)
            return b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()
        packed = b64decode(_string.decode(vector), validate=True)
        return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    except (ValueError, OverflowError, struct.error) as error:  # msgspec's and base64's too
        raise broken(f"the upstream sent an embedding that is none: {error}") from error
