"""What is sent to /api/chat, /api/generate and /api/embed; a field that is None is not.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from adapters.dialect import UpstreamRequest
from adapters.ollama_messages import NativeMessage


class Body(Struct, omit_defaults=True):
    model: str
    stream: bool | None = None
    truncate: bool | None = None
    shift: bool | None = None
    keep_alive: str | float | None = None
    messages: Sequence[NativeMessage] | None = None
    prompt: str | None = None
    suffix: str | None = None
    raw: bool | None = None
    input: Sequence[str] | None = None
    dimensions: int | None = None
    tools: Sequence[object] | None = None
    format: object | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    options: Mapping[str, object] | None = None

    def to(self, path: str, options: Mapping[str, object]) -> UpstreamRequest:
        self.options = options or None
        return UpstreamRequest("POST", path, msgspec.json.encode(self))
