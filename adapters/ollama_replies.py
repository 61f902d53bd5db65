"""Ollama's answers that come in one piece: listings, facts, the version, embeddings.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import re
from base64 import b64encode
from struct import pack
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from adapters.dialect import Facts, Model, Reply, Whole
from adapters.errors import InvalidRequest, broken
from adapters.ollama_answers import unix_time
from adapters.ollama_errors import UNREADABLE
from adapters.wire import EmbeddingCall, Usage


class _Listed(Struct, frozen=True):
    name: str
    modified_at: str = ""
    digest: str | None = None
    capabilities: list[str] | None = None
    remote_model: str | None = None
    remote_host: str | None = None
    context_length: int | None = None  # as it is loaded
    expires_at: str = ""


class _Tags(Struct, frozen=True):
    models: list[_Listed] | None = None


class _Show(Struct, frozen=True):
    capabilities: list[str] | None = None
    remote_model: str | None = None
    remote_host: str | None = None


class _Version(Struct, frozen=True):
    version: str


class _Embedded(Struct, frozen=True):
    embeddings: list[Raw]
    prompt_eval_count: int | None = None


_BEGINS: Final = re.compile(rb"\[\s*-?[0-9]")  # a list of numbers
_NUMBERS: Final = re.compile(r"v?(\d{1,9}(?:\.\d{1,9})*)")
_tags = msgspec.json.Decoder(_Tags)
_show = msgspec.json.Decoder(_Show)
_version = msgspec.json.Decoder(_Version)
_embedded = msgspec.json.Decoder(_Embedded)
_vector = msgspec.json.Decoder(list[float])
T = TypeVar("T")


def _decode(decoder: msgspec.json.Decoder[T], body: bytes | Raw) -> T:
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise broken(f"Ollama's answer is not that of its API: {error}") from None


def models(body: bytes) -> list[Model]:
    """/api/tags, and /api/ps, whose entries have the same names."""
    return [
        Model(
            id=model.name,
            created=unix_time(model.modified_at) or 0,
            owned_by=model.name.rpartition("/")[0] or "library",
            facts=replace(
                _facts(model, model.digest),
                window=model.context_length,
                leaves_at=model.expires_at,
            ),
        )
        for model in _decode(_tags, body).models or ()
    ]


def facts(body: bytes) -> Facts:
    """/api/show."""
    return _facts(_decode(_show, body), None)


def version(body: bytes) -> tuple[int, ...] | None:
    """/api/version; None for a build without a number ("0.0.0"): newest, not oldest."""
    match = _NUMBERS.match(_decode(_version, body).version)
    known = tuple(map(int, match[1].split("."))) if match else ()
    return known if any(known) else None


def _facts(said: _Listed | _Show, digest: str | None) -> Facts:
    capabilities = None if said.capabilities is None else frozenset(said.capabilities)
    return Facts(capabilities, digest, remote=bool(said.remote_model or said.remote_host))


def embeddings(call: EmbeddingCall, expected: int, body: bytes, reply: Reply) -> Whole:
    """/api/embed: the vectors, undecoded where floats are asked: they are most of the bytes."""
    answer = _decode(_embedded, body)
    vectors = answer.embeddings
    if len(vectors) != expected:
        raise broken(f"Ollama gave {len(vectors)} embeddings for {expected} inputs")
    if not all(_BEGINS.match(memoryview(vector)) for vector in vectors):
        raise broken("Ollama gave an embedding that is no list of numbers")
    _check_dimensions(call.request.dimensions, vectors[0])
    base64 = call.request.encoding_format == "base64"
    tokens = answer.prompt_eval_count or 0
    whole = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _base64(raw) if base64 else raw}
            for index, raw in enumerate(vectors)
        ],
        "model": reply.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    partial = answer.prompt_eval_count is None
    return Whole(msgspec.json.encode(whole), Usage(tokens, 0, partial=partial))


def _check_dimensions(wanted: int | None, vector: Raw) -> None:
    """More dimensions than the model has are ignored by the server: say so instead."""
    if wanted is None:
        return
    got = len(_decode(_vector, vector))
    if got != wanted:
        raise InvalidRequest(
            f"this model gives {got} dimensions, not {wanted}", "dimensions", "invalid_value"
        )


def _base64(vector: Raw) -> str:
    """Little-endian float32, as OpenAI packs it."""
    floats = _decode(_vector, vector)
    try:
        return b64encode(pack(f"<{len(floats)}f", *floats)).decode()
    except OverflowError:
        raise broken("Ollama gave an embedding beyond 32 bits") from None
