"""An error answer of an OpenAI-shaped upstream, read."""

from __future__ import annotations

import json
from collections.abc import Mapping

from adapters.errors import UpstreamError
from adapters.openai import OpenAI


def error(status: int, body: object, headers: Mapping[str, str] | None = None) -> UpstreamError:
    """The error of an answer with this body, which is sent as JSON if it is not bytes."""
    said = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OpenAI().decode_error(status, headers or {}, said)
