"""What a request, its header and its key demand of where it goes, as one.

Each can only add to the others: no request takes back what its key demands.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET

from adapters.constraints import Constraints, Said
from facade.errors import BadRequest
from facade.wire.head import Headers

HEADER: Final = "x-facade-constraints"
_NAMES: Final = ", ".join(field.name for field in msgspec.structs.fields(Constraints))


def demanded(
    of_key: Constraints | None,
    headers: Headers,
    of_body: Said,
) -> Constraints | None:
    """What holds for a request; None: nothing. Raises BadRequest for what is not understood."""
    header = headers.get(HEADER)
    if of_key is None and header is None and (of_body is None or of_body is UNSET):
        return None
    asked = [_spelled(_whole(headers))] if header else []
    asked += [of_body] if isinstance(of_body, Constraints) else []
    own = _joined(asked)
    if own.local_only and own.force_cloud:
        raise BadRequest("local_only and force_cloud exclude each other", param="constraints")
    return _joined([own, of_key]) if of_key else own


def _joined(given: list[Constraints]) -> Constraints:
    waits = [each.max_latency_ms for each in given if each.max_latency_ms is not None]
    return Constraints(
        prefer_local=any(each.prefer_local for each in given),
        local_only=any(each.local_only for each in given),
        force_cloud=any(each.force_cloud for each in given),
        max_latency_ms=min(waits, default=None),
    )


def _whole(headers: Headers) -> str:
    """All lines of the header: what one of them demands no other takes back."""
    name = HEADER.encode()
    return ",".join(value.decode("latin-1") for each, value in headers.pairs if each == name)


def _spelled(header: str) -> Constraints:
    """`local_only, max_latency_ms=2000`."""
    found: dict[str, str] = {}
    for part in header.split(","):
        name, _, value = map(str.strip, part.partition("="))
        if found.setdefault(name, value or "true") != (value or "true"):
            raise _wrong(f"'{name}' is said twice")
    try:
        return msgspec.convert(found, Constraints, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(f"{error}; there are {_NAMES}") from None


def _wrong(message: str) -> BadRequest:
    return BadRequest(message, param=HEADER, code="invalid_value")
