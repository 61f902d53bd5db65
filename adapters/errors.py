"""What can go wrong between a request and an upstream's answer, said without HTTP of our own.

    AdapterError
    ├── InvalidRequest    the caller asks for what cannot be: wrong field, or one this dialect lacks
    └── UpstreamError     what the upstream did; `kind` says which
        └── Incomplete    the answer stopped before its end marker

`facade.errors` turns these into statuses; nothing here knows one of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Kind(Enum):
    """What an upstream did. Every kind is one row of the table in `facade.errors`."""

    UNREACHABLE = "unreachable"  # refused, DNS, TLS: nothing was sent
    TIMEOUT = "timeout"  # one of the five clocks
    CUT = "cut"  # the answer stopped before its end marker
    BROKEN = "broken"  # a 200 that is no answer: HTML, an empty object, bad JSON
    CREDENTIAL = "credential"  # our key was refused
    PAYMENT = "payment"  # our account there is empty
    MODEL_NOT_FOUND = "model_not_found"
    CONTEXT_LENGTH = "context_length"
    REJECTED = "rejected"  # any other 4xx: the request itself is at fault
    CONFINED = "confined"  # only a local target was allowed, and this is none: nothing was sent
    TOO_LARGE = "too_large"  # for this target's rate limit, however long one waits
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    FAILED = "failed"  # the upstream's own failure
    GATEWAY = "gateway"  # the upstream could not reach what it relays to


FINAL: Final = frozenset(
    {
        Kind.CREDENTIAL,
        Kind.PAYMENT,
        Kind.MODEL_NOT_FOUND,
        Kind.CONTEXT_LENGTH,
        Kind.REJECTED,
        Kind.CONFINED,
        Kind.TOO_LARGE,
    }
)  # the same request to the same target fails again, however long one waits


class AdapterError(Exception):
    """The root of this tree."""


class InvalidRequest(AdapterError):
    """The request cannot be served as asked; always a 400.

    `param` is the path of the field (`messages[0].role`), `code` one of OpenAI's
    (`unsupported_value`, `invalid_type`, ...) or None.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class UpstreamError(AdapterError):
    """The upstream did not answer. `message` is safe to show to the caller.

    `type`, `param` and `code` are set where the upstream's own words (or the dialect's
    reading of them) are better than the row of the kind; `retry_after` is in seconds.
    `retry`: whether the same request to the same target may succeed, by the kind if not given.
    `more` stands beside the four keys of the error object.
    """

    def __init__(  # noqa: PLR0913 - the fields of an error object
        self,
        kind: Kind,
        message: str,
        *,
        status: int | None = None,
        type: str | None = None,  # noqa: A002 - OpenAI's name for the field
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        retry: bool | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.type = type
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.retry = (kind not in FINAL or status == 409) if retry is None else retry
        self.more = more or {}


class Incomplete(UpstreamError):
    """The stream ended without the dialect's end marker: never call it complete."""

    def __init__(self, message: str = "the upstream's answer stopped before its end") -> None:
        super().__init__(Kind.CUT, message, code="upstream_incomplete")


def broken(message: str) -> UpstreamError:
    """A 200 that is no answer (HTML, an empty object, bad JSON)."""
    return UpstreamError(Kind.BROKEN, message, code="upstream_broken")
