"""Media inside a request: data URLs and bare base64, as base64 without a prefix.

Nothing is fetched and no path is opened: what is not in the request does not exist.
Source: https://www.rfc-editor.org/rfc/rfc2397
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from msgspec import Struct

from adapters.errors import InvalidRequest

_DATA_URL: Final = re.compile(r"data:([^,]*),(.*)", re.IGNORECASE | re.DOTALL)
_URL_SAFE: Final = str.maketrans("-_", "+/", " \t\r\n\f\v")


class Media(Struct, frozen=True):
    """`type` is the media type in lower case, "" where none was given."""

    type: str
    base64: str

    def text(self) -> str:
        """The content as UTF-8 text; wrong bytes become U+FFFD."""
        return base64.b64decode(self.base64).decode("utf-8", "replace")


def read(url: str, param: str) -> Media:
    """A data URL or bare base64 (standard or URL-safe, white space and padding free).

    Raises InvalidRequest, naming `param`, for anything else.
    """
    match = _DATA_URL.fullmatch(url.strip())
    if match is None:
        if re.match(r"[a-z][a-z0-9+.-]*:", url, re.IGNORECASE):
            scheme = url.split(":", 1)[0].lower()
            raise InvalidRequest(
                f"a '{scheme}:' address is not fetched: send the content as a data: URL",
                param,
                "image_url_unsupported",
            )
        return Media("", _clean(url, param))
    head, body = match.groups()
    kind, *parameters = (piece.strip().lower() for piece in head.split(";"))
    if "base64" not in parameters:
        raise InvalidRequest("the data: URL is not base64", param, "invalid_image")
    return Media(kind, _clean(body, param))


def _clean(text: str, param: str) -> str:
    cleaned = text.translate(_URL_SAFE).rstrip("=")
    cleaned += "=" * (-len(cleaned) % 4)
    try:
        content = base64.b64decode(cleaned, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        raise InvalidRequest("the content is not valid base64", param, "invalid_image")
    return cleaned
