"""What the client is told: the FacadeError tree and the only table of status codes.

    FacadeError
    ├── BadRequest          400, with `param` naming the field
    ├── Unauthorized        401
    ├── Forbidden           403
    ├── NotFound            404
    ├── MethodNotAllowed    405
    ├── Conflict            409
    ├── TooLarge            413
    ├── RateLimited         429, by a limit of ours
    ├── LimitsUnavailable   503, the store of the limits does not answer
    ├── Stopping            503, the server is going down
    ├── NoSlot              503, nothing was sent to the upstream
    │   ├── Busy            no slot of it is free, and none was to be waited for
    │   ├── Cold            its model is not in memory, and was not to be waited for
    │   ├── QueueFull       as many wait for it as may
    │   ├── WaitedOut       no slot of it was free in time
    │   └── UpstreamRemoved it left the configuration while its slot was waited for
    └── Refused             what an upstream's failure becomes, by the table STATUSES

Every error of the OpenAI paths is `{"error": {message, type, param, code}}`, all four keys.
Source: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from adapters.errors import InvalidRequest, Kind, UpstreamError

_JSON: Final = "application/json"


class FacadeError(Exception):
    """An answer that is an error. `retry_after` is in seconds.

    `retry`: whether the client should try again; None leaves it to the status. `more` stands
    beside the four keys of the error object.
    """

    status = 500
    type = "server_error"
    code: str | None = "internal_error"

    def __init__(  # noqa: PLR0913 - the fields of an error object
        self,
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
        self.message = message
        self.status = status or self.status
        self.type = type or self.type
        self.code = code or self.code
        self.param = param
        self.retry_after = retry_after
        self.retry = retry
        self.more = more or {}

    def body(self) -> bytes:
        """The error object, with all four keys."""
        four = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return msgspec.json.encode({"error": {**four, **self.more}})

    def headers(self) -> dict[str, str]:
        headers = {"content-type": _JSON}
        if self.retry_after is not None:
            wait = min(self.retry_after, _LONGEST_WAIT)
            headers["retry-after"] = str(math.ceil(wait))
            headers["retry-after-ms"] = str(math.ceil(wait * 1000))
        if self.retry is False or (self.retry_after or 0) > LONGEST_CLIENT_WAIT:
            headers["x-should-retry"] = "false"
        elif self.retry and self.status < 500 and self.status not in _RETRIED:
            headers["x-should-retry"] = "true"
        return headers


_LONGEST_WAIT: Final = 30 * 86_400.0  # seconds; an upstream may say anything
_RETRIED: Final = (408, 409, 429)  # by SDKs of themselves, as 5xx are
LONGEST_CLIENT_WAIT: Final = 60.0  # seconds; beyond it one SDK ignores Retry-After and hammers


class BadRequest(FacadeError):
    status, type, code = 400, "invalid_request_error", None


class Unauthorized(FacadeError):
    status, type, code = 401, "invalid_request_error", "invalid_api_key"

    def headers(self) -> dict[str, str]:
        return super().headers() | {"www-authenticate": "Bearer"}


class Forbidden(FacadeError):
    status, type, code = 403, "permission_error", None


class NotFound(FacadeError):
    status, type, code = 404, "invalid_request_error", None


class MethodNotAllowed(FacadeError):
    """`allowed` are the methods that the path takes."""

    status, type, code = 405, "invalid_request_error", "method_not_allowed"

    def __init__(self, path: str, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{path} takes {' and '.join(allowed)}, not {method}")
        self._allowed = ", ".join(allowed)

    def headers(self) -> dict[str, str]:
        return super().headers() | {"allow": self._allowed}


class Conflict(FacadeError):
    status, type, code = 409, "invalid_request_error", None


class TooLarge(FacadeError):
    status, type, code = 413, "invalid_request_error", "request_too_large"


class RateLimited(FacadeError):
    status, type, code = 429, "rate_limit_error", "rate_limit_exceeded"


class LimitsUnavailable(FacadeError):
    status, type, code = 503, "server_error", "limits_unavailable"


class Stopping(FacadeError):
    status, type, code = 503, "server_error", "server_stopping"


class NoSlot(FacadeError):
    status, type, code = 503, "server_error", "no_slot"


class Busy(NoSlot):
    code = "busy"


class Cold(NoSlot):
    code = "cold"


class QueueFull(NoSlot):
    code = "queue_full"


class WaitedOut(NoSlot):
    code = "queue_timeout"


class UpstreamRemoved(NoSlot):
    code = "upstream_removed"


class Refused(FacadeError):
    """The upstream's failure as the client is told it; the row comes from STATUSES."""

    code = None


class Row(msgspec.Struct, frozen=True):
    """`status` None: the upstream's own."""

    status: int | None
    type: str
    code: str | None


_CALLER = "invalid_request_error"
_SERVER = "server_error"

STATUSES: Final[dict[Kind, Row]] = {
    Kind.UNREACHABLE: Row(503, _SERVER, "upstream_unavailable"),
    Kind.TIMEOUT: Row(504, _SERVER, "upstream_timeout"),
    Kind.CUT: Row(502, _SERVER, "upstream_incomplete"),
    Kind.BROKEN: Row(502, _SERVER, "upstream_broken"),
    Kind.CREDENTIAL: Row(502, _SERVER, "upstream_auth"),
    Kind.PAYMENT: Row(None, "insufficient_quota", "insufficient_quota"),
    Kind.MODEL_NOT_FOUND: Row(404, _CALLER, "model_not_found"),
    Kind.CONTEXT_LENGTH: Row(400, _CALLER, "context_length_exceeded"),
    Kind.REJECTED: Row(None, _CALLER, None),
    Kind.CONFINED: Row(403, "permission_error", "constraints_unmet"),
    Kind.TOO_LARGE: Row(None, _CALLER, "request_too_large"),
    Kind.RATE_LIMITED: Row(429, "rate_limit_error", "rate_limit_exceeded"),
    Kind.OVERLOADED: Row(503, _SERVER, "server_overloaded"),
    Kind.FAILED: Row(None, _SERVER, "upstream_error"),
    Kind.GATEWAY: Row(502, _SERVER, "bad_gateway"),
}


def name_input(error: UpstreamError, field: str) -> None:
    """Let an overflow name the field that holds what is too long; upstreams do not know it."""
    if error.kind is Kind.CONTEXT_LENGTH:
        error.param = error.param or field


def told(error: Exception) -> FacadeError:
    """What the client is told of any error. One of our own bugs is a 500 without details."""
    if isinstance(error, FacadeError):
        return error
    if isinstance(error, InvalidRequest):
        return BadRequest(error.message, param=error.param, code=error.code)
    if isinstance(error, UpstreamError):
        row = STATUSES[error.kind]
        return Refused(
            error.message,
            status=row.status or error.status or 500,
            type=error.type or row.type,
            param=error.param,
            code=error.code or row.code,
            retry_after=error.retry_after,
            retry=error.retry,
            more=error.more,
        )
    if isinstance(error, RecursionError):  # nothing else here is as deep as a body may be
        return BadRequest("the body is nested too deeply", code="invalid_json")
    return FacadeError("the facade failed to answer this request; its log says why")
