"""Media inside a request: data URLs and bare base64, as base64 without a prefix.

Nothing is fetched and no path is opened: what is not in the request does not exist.
Source: https://www.rfc-editor.org/rfc/rfc2397
"""

from __future__ import annotations

import base64
import re
from typing import Final

from msgspec import Struct

from adapters.errors import InvalidRequest

_DATA_URL: Final = re.compile(r"data:([^,]*),(.*)", re.IGNORECASE | re.DOTALL)
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_URL_SAFE: Final = str.maketrans("-_", "+/", " \t\r\n\f\v")


class Media(Struct, frozen=True):
    """`type` is the media type in lower case, "" where none was given."""

    type: str
    base64: str

    def text(self) -> str:
        """The content as UTF-8 text; wrong bytes become U+FFFD."""
        return base64.b64decode(self.base64).decode("utf-8", "replace")


def read(url: str, param: str, what: str = "image") -> Media:
    """A data URL or bare base64 (standard or URL-safe, white space and padding free).

    Raises InvalidRequest, naming `param` and `what` it should have been, for anything else.
    """
    url = url.strip()
    match = _DATA_URL.fullmatch(url)
    if match is None:
        scheme = _SCHEME.match(url)
        if scheme:
            raise InvalidRequest(
                f"a '{scheme[1].lower()}:' address is not fetched: "
                "send the content as a data: URL in base64",
                param,
                f"{what}_url_unsupported",
            )
        return Media("", _clean(url, param, what))
    head, body = match.groups()
    kind, *parameters = (piece.strip().lower() for piece in head.split(";"))
    if "base64" not in parameters:
        raise InvalidRequest("the data: URL is not base64", param, f"invalid_{what}")
    return Media(kind, _clean(body, param, what))


def _clean(text: str, param: str, what: str) -> str:
    cleaned = text.translate(_URL_SAFE).rstrip("=")
    cleaned += "=" * (-len(cleaned) % 4)
    try:
        content = base64.b64decode(cleaned, validate=True)
    except ValueError:  # binascii.Error is one
        content = b""
    if not content:
        raise InvalidRequest(f"the {what} is not valid base64", param, f"invalid_{what}")
    return cleaned
