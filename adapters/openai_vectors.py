"""Embeddings that come in a form of a vendor's own, as the lists of numbers that OpenAI has."""

from __future__ import annotations

import struct
from base64 import b64decode

import msgspec
from msgspec import Raw, Struct, field

from adapters import openai_glance as glance
from adapters.errors import broken
from adapters.patching import Inside, patched


class _Vector(Struct, frozen=True):
    embedding: str | list[Raw]


class _Embedded(glance.Body, frozen=True):
    data: list[_Vector] = field(default_factory=list)


_embedded = msgspec.json.Decoder(_Embedded)


def signed_bytes(body: bytes) -> bytes:
    """The answer with vectors of base64 signed bytes as lists of whole numbers, not scaled.

    Raises UpstreamError where a vector is none.
    """
    answer = glance.read(_embedded, body)
    try:
        vectors = Inside(
            (place, Inside(embedding=_numbers(vector.embedding)))
            for place, vector in enumerate(answer.data)
            if isinstance(vector.embedding, str)
        )
    except ValueError as error:
        raise broken(f"the upstream sent an embedding that is none: {error}") from error
    return patched(body, Inside(data=vectors)) if vectors else body


def _numbers(packed: str) -> tuple[int, ...]:
    data = b64decode(packed, validate=True)
    return struct.unpack(f"{len(data)}b", data)
