"""Changing a JSON text in places: every value that is not named keeps its bytes.

So what we do not know of (a vendor's own fields, how a number is spelled) survives exactly.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from adapters.errors import broken

_object = msgspec.json.Decoder(dict[str, Raw] | None)
_array = msgspec.json.Decoder(list[Raw])


class Inside(dict[str | int, object]):
    """Changes further in: by name in an object, by position in an array."""


def patched(json: bytes, changes: Inside) -> bytes:
    """`json` with fields replaced or added; the very same bytes where there are no changes.

    None removes a field (Raw null writes one), an Inside changes what is in it; an object is
    made where none is. Raises UpstreamError for names that are no text: callers' are.
    """
    try:
        return _changed(json, changes) if changes else json
    except UnicodeDecodeError as error:
        raise broken("the upstream sent what is no text") from error


def _changed(json: bytes, changes: Inside) -> bytes:
    listed = json.startswith(b"[")
    members: dict[Any, Raw]  # by position or by name
    members = dict(enumerate(_array.decode(json))) if listed else _object.decode(json) or {}
    for key, value in changes.items():
        if value is None:
            members.pop(key, None)
        elif isinstance(value, Inside):
            members[key] = Raw(_changed(bytes(members.get(key, b"null")), value))
        else:
            members[key] = Raw(msgspec.json.encode(value))
    return msgspec.json.encode(list(members.values()) if listed else members)
