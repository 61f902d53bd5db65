"""What may differ between two readings of one answer, taken out of both."""

from __future__ import annotations

import struct

from tests.recorded.ollama import observed
from tests.recorded.ollama.oracle import Failure, Told, Vectors


def in_mode(expected: Told, *, streamed: bool) -> Told:
    """A failure after content stands in the stream; asked in one piece, it is all that is told."""
    tokens = expected.tokens or None  # an answer without content need not say that it has none
    failure = expected.failure
    if failure is None:
        return expected._replace(tokens=tokens)
    if streamed and expected.begun:
        return expected._replace(tokens=tokens, failure=failure._replace(status=observed.IN_STREAM))
    return Told(failure=failure)


def matched(expected: Told, answered: Told) -> Told:
    """The answer as it can be compared with what `in_mode` gives."""
    answered = answered._replace(tokens=answered.tokens or None)
    if expected.failure and answered.failure:
        return answered._replace(failure=abridged(expected.failure, answered.failure))
    return answered


def abridged(expected: Failure, answered: Failure) -> Failure:
    """The failure that was told, with no more of its message than was expected."""
    if expected.message in answered.message:
        return answered._replace(message=expected.message)
    return answered


def floats(told: Vectors) -> list[bytes]:
    """The vectors as float32, the precision of base64."""
    return [struct.pack(f"<{len(vector)}f", *vector) for vector in told.vectors]
