"""Whether two readings of one answer agree: what should come, and what came.

Each function raises AssertionError with the first thing that differs.
"""

from __future__ import annotations

import struct

from tests.recorded.clouds.failures import Failure
from tests.recorded.clouds.oracle import Call, Choice, Told, Vectors
from tests.recorded.clouds.reading import IN_STREAM


def agree(expected: Told, told: Told, *, usage: bool) -> None:
    """Raises AssertionError with the first thing that differs."""
    agree_failures(expected.failure, told.failure, begun=expected.begun)
    if told.failure and told.failure.status != IN_STREAM:
        return  # what came before it is not told
    expect("choices", len(expected.choices), len(told.choices))
    for ours, theirs in zip(expected.choices, told.choices, strict=True):
        agree_choices(ours, theirs)
    if not told.failure:
        expect("usage", expected.counts if usage else None, told.counts)


def agree_failures(expected: Failure | None, told: Failure | None, *, begun: bool) -> None:
    if expected is None or told is None:
        expect("failure", expected, told)
        return
    expect("status", IN_STREAM if begun else expected.status, told.status)
    (message,) = told.words
    for words in expected.words:
        assert words in message, f"the message is {message!r:.200}, it lacks {words!r:.200}"
    if expected.code:
        expect("code", expected.code, told.code)


def agree_choices(expected: Choice, told: Choice) -> None:
    for name in ("content", "reasoning", "refusal", "function", "finish"):
        expect(name, getattr(expected, name), getattr(told, name))
    ids = [call.id for call in told.calls]
    assert all(ids), "a call has no id"
    assert len(ids) == len(set(ids)), "two calls have one id"
    expect("number of calls", len(expected.calls), len(told.calls))
    for ours, theirs in zip(expected.calls, told.calls, strict=True):
        expect("call", ours if ours.id else Call(theirs.id, ours.name, ours.arguments), theirs)


def agree_vectors(expected: Vectors, told: Vectors) -> None:
    agree_failures(expected.failure, told.failure, begun=False)
    expect("prompt tokens", expected.prompt, told.prompt)
    expect("number of vectors", len(expected.vectors), len(told.vectors))
    for ours, theirs in zip(expected.vectors, told.vectors, strict=True):
        expect("length of a vector", len(ours), len(theirs))
        assert packed(ours) == packed(theirs), "a vector differs"


def packed(vector: tuple[float, ...]) -> bytes:
    """As float32, the precision of base64."""
    return struct.pack(f"<{len(vector)}f", *vector)


def expect(what: str, expected: object, told: object) -> None:
    assert expected == told, f"{what} is {told!r:.300}, not {expected!r:.300}"
