"""Whether an answer is the one that was asked for: only those count.

An answer like the last good one, but for its id, is good; every other is read in full, so
that judging costs little and nothing passes unread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from tests.bench.answers import TOKENS, VECTOR


class _Text(Struct, frozen=True):
    content: str | None = None


class _Choice(Struct):
    finish_reason: str | None = None
    message: _Text = _Text()
    delta: _Text = _Text()


class _Answer(Struct):
    id: str
    choices: list[_Choice]


class _Vector(Struct):
    embedding: list[float]


class _Vectors(Struct):
    data: list[_Vector]


_answer = msgspec.json.Decoder(_Answer)
_vectors = msgspec.json.Decoder(_Vectors)


class Judge:
    """Judges the answers of one kind."""

    def __init__(self, kind: str) -> None:
        self._read = _READERS[kind]
        self._good = b""

    def fault(self, status: int, body: bytes) -> str:
        """What is wrong with an answer; "" for a good one."""
        if status != 200:
            return f"status {status}: {body[:300]!r}"
        bare = _without_id(body)
        if bare == self._good:
            return ""
        try:
            wrong = self._read(body)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            wrong = str(error)
        if wrong:
            return f"{wrong}: {body[:300]!r}"
        self._good = bare
        return ""


def _without_id(body: bytes) -> bytes:
    said = body.partition(b'"id":"')[2].partition(b'"')[0]
    return body.replace(said, b"") if said else body


def _of_whole(kind: str, body: bytes) -> str:
    (choice,) = _answer.decode(body).choices
    if choice.message.content != "".join(TOKENS[kind]):
        return "another text"
    return "" if choice.finish_reason == "stop" else "no end"


def _of_stream(kind: str, body: bytes) -> str:
    *events, done, rest = body.split(b"\n\n")
    if (done, rest) != (b"data: [DONE]", b""):
        return "no [DONE] at the end"
    if not all(event.startswith(b"data: ") for event in events):
        return "an event without data"
    said = [_answer.decode(event[6:]) for event in events]
    choices = [choice for each in said for choice in each.choices]
    if tuple(choice.delta.content for choice in choices if choice.delta.content) != TOKENS[kind]:
        return "other chunks"
    if len({each.id for each in said}) != 1:
        return "several ids"
    ends = [choice.finish_reason for choice in choices if choice.finish_reason]
    return "" if ends == ["stop"] else "no end, or several"


def _of_vectors(body: bytes) -> str:
    (vector,) = _vectors.decode(body).data
    return "" if tuple(vector.embedding) == VECTOR else "another vector"


_READERS: Final[Mapping[str, Callable[[bytes], str]]] = {
    "chat": functools.partial(_of_whole, "chat"),
    "embeddings": _of_vectors,
    "burst": functools.partial(_of_stream, "burst"),
    "paced": functools.partial(_of_stream, "paced"),
}
