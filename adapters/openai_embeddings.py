"""Embeddings of OpenAI-shaped upstreams: one vector per input, in order, in the format asked.

Strategy: vectors are most of the bytes, so they are read only where they must be rewritten.
Source: https://platform.openai.com/docs/api-reference/embeddings/object
"""

from __future__ import annotations

import re
import struct
from base64 import b64decode, b64encode
from typing import Final

import msgspec
from msgspec import Raw, Struct, field

from adapters import openai_glance as glance
from adapters.dialect import Reply, Whole
from adapters.errors import InvalidRequest, UpstreamError, broken
from adapters.openai_counts import prompt_counted, within
from adapters.patching import Inside, patched
from adapters.wire import NULL, EmbeddingRequest

_BEGINS: Final = re.compile(rb'\[\s*-?[0-9]|"[^"]')  # a list of numbers, or packed ones


class _Vector(Struct, frozen=True):
    embedding: Raw = NULL
    index: int | None = None


class _Embedded(glance.Body, frozen=True):
    data: list[_Vector] = field(default_factory=list)
    usage: object = None


class _Items(Struct, frozen=True):
    data: list[Raw]


_embedded = msgspec.json.Decoder(_Embedded)
_items = msgspec.json.Decoder(_Items)
_floats = msgspec.json.Decoder(list[float])
_string = msgspec.json.Decoder(str)


def embeddings(request: EmbeddingRequest, body: bytes, _: Reply) -> Whole:
    """Raises InvalidRequest where the model has not as many dimensions as were asked."""
    answer = glance.read(_embedded, body)
    expected = _inputs(request)
    if len(answer.data) != expected:
        told = f"the upstream gave {len(answer.data)} embeddings for {expected} inputs"
        raise glance.no_answer(body, told)
    body, vectors = _in_order(body, answer)
    if not all(_BEGINS.match(memoryview(vector)) for vector in vectors):
        raise broken("the upstream sent an embedding that is no list of numbers")
    changes, counts = _rewritten(request, vectors), prompt_counted(answer.usage)
    if counts.changes:
        changes["usage"] = within(answer.usage, counts.changes)
    return Whole(patched(body, changes), counts.usage)


def signed_bytes(body: bytes) -> bytes:
    """The answer with vectors of base64 signed bytes as lists of whole numbers, not scaled.

    Raises UpstreamError where a vector is none.
    """
    answer = glance.read(_embedded, body)
    vectors = Inside(
        (place, Inside(embedding=_unpacked(vector.embedding, "b")))
        for place, vector in enumerate(answer.data)
        if _is_packed(vector.embedding)
    )
    return patched(body, Inside(data=vectors)) if vectors else body


def _rewritten(request: EmbeddingRequest, vectors: list[Raw]) -> Inside:
    """The vectors that are not in the format asked."""
    _check_dimensions(request.dimensions, vectors[0])
    as_base64 = request.encoding_format == "base64"
    converted = Inside(
        (place, Inside(embedding=_converted(vector, as_base64)))
        for place, vector in enumerate(vectors)
        if _is_packed(vector) is not as_base64
    )
    return Inside(data=converted) if converted else Inside()


def _inputs(request: EmbeddingRequest) -> int:
    given = request.input
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        return 1
    return len(given)


def _in_order(body: bytes, answer: _Embedded) -> tuple[bytes, list[Raw]]:
    """The body with its vectors in the order of the inputs, and the vectors."""
    given = [vector.index for vector in answer.data]
    vectors = [vector.embedding for vector in answer.data]
    order = list(range(len(given)))
    if given == order:
        return body, vectors
    if not any(index is not None for index in given):  # the order is all that tells
        return patched(body, Inside(data=Inside((n, Inside(index=n)) for n in order))), vectors
    if set(given) != set(order):
        raise broken("the upstream's embeddings are not numbered as the inputs are")
    items = _items.decode(body).data
    places = {index: place for place, index in enumerate(given)}
    sources = [places[index] for index in order]
    sorted_body = patched(body, Inside(data=[items[source] for source in sources]))
    return sorted_body, [vectors[source] for source in sources]


def _check_dimensions(wanted: int | None, vector: Raw) -> None:
    """A model that cannot have as many ignores what was asked: say so instead."""
    if wanted is None:
        return
    got = len(_numbers(vector))
    if got != wanted:
        raise InvalidRequest(
            f"this model gives {got} dimensions, not {wanted}", "dimensions", "invalid_value"
        )


def _converted(vector: Raw, as_base64: bool) -> str | list[float]:
    numbers = _numbers(vector)
    if not as_base64:
        return numbers
    try:
        return b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    except OverflowError as error:
        raise broken(f"the upstream sent an embedding beyond 32 bits: {error}") from error


def _is_packed(vector: Raw) -> bool:
    return memoryview(vector)[0] == ord('"')


def _numbers(vector: Raw) -> list[float]:
    """A list, or OpenAI's packed form: little-endian float32."""
    if _is_packed(vector):
        return _unpacked(vector, "f")
    try:
        return _floats.decode(vector)
    except ValueError as error:  # msgspec's too
        raise _no_embedding(error) from error


def _unpacked(vector: Raw, kind: str) -> list[float]:
    """The little-endian numbers of this kind, in base64 in a string of JSON."""
    try:
        packed = b64decode(_string.decode(vector), validate=True)
        return list(struct.unpack(f"<{len(packed) // struct.calcsize(kind)}{kind}", packed))
    except (ValueError, struct.error) as error:  # msgspec's and base64's too
        raise _no_embedding(error) from error


def _no_embedding(error: Exception) -> UpstreamError:
    return broken(f"the upstream sent an embedding that is none: {error}")
