"""The recorded exchanges with a live Ollama, and what becomes of each of them here.

An exchange that no table names is replayed whole: its request is asked in OpenAI's words, its
answer is played back. So a recording that is new is never left out in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from tests.parts import corpus

Json = dict[str, Any]
_PREFIX: Final = "ollama-native-"
LISTING: Final = "/api/tags"


class Exchange(NamedTuple):
    """One recorded exchange; `id` is without the name of its file."""

    id: str
    method: str
    path: str
    request: Any
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def lines(self) -> list[Json]:
        """The body as the JSON values that stand in it, one a line."""
        return [json.loads(line) for line in self.body.decode().split("\n") if line]


def recorded() -> Iterator[Exchange]:
    """All exchanges with Ollama's native API; none where there is no corpus."""
    path = corpus() / "ollama-native.jsonl"
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        kept = json.loads(line)
        yield Exchange(
            kept["id"].removeprefix(_PREFIX),
            kept["method"],
            kept["path"],
            kept["request"],
            kept["status"],
            kept["response_headers"],
            kept["body"].encode(),
        )


# Exchanges whose question no OpenAI client can put.
_METADATA: Final = "asked by the facade for itself; OpenAI has no such path"
_LOADED: Final = "what is in memory; the facade asks it for its clocks"
_MANAGEMENT: Final = "model management; OpenAI has no such path"
_HTTP: Final = "a path or method that the facade never uses"
_BROKEN: Final = "a body that is no JSON object; no SDK sends one"
WITHOUT_EQUIVALENT: Final[Mapping[str, str]] = {
    "version": _METADATA,
    "root": _METADATA,
    "show": _METADATA,
    "show-404": _METADATA,
    "ps": _LOADED,
    "ps-after-unload": _LOADED,
    "ps-loaded": _LOADED,
    "ps-forever": _LOADED,
    "chat-badjson": _BROKEN,
    "chat-nobody": _BROKEN,
    "get-chat": _HTTP,
    "put": _HTTP,
    "options": _HTTP,
    "unknown": _HTTP,
    "embeddings-legacy": "the older path for one embedding; the facade never uses it",
    "copy": _MANAGEMENT,
    "copy-404": _MANAGEMENT,
    "delete": _MANAGEMENT,
    "delete-404": _MANAGEMENT,
    "pull-offline": _MANAGEMENT,
    "pull-offline-ns": _MANAGEMENT,
    "push-offline": _MANAGEMENT,
    "create-nofrom": _MANAGEMENT,
    "create-from": _MANAGEMENT,
    "blob-head-404": _MANAGEMENT,
    "blob-head-bad": _MANAGEMENT,
}


class Refusal(NamedTuple):
    """What a 400 of the facade's own says; nothing has gone upstream then."""

    code: str
    param: str


# What Ollama answers, and the facade does not even ask.
REFUSED_HERE: Final[Mapping[str, Refusal]] = {
    "chat-wrongtype": Refusal("invalid_type", "messages"),
    "chat-role-unknown": Refusal("invalid_value", "messages[0].role"),
    "chat-image-unsupported": Refusal("unsupported_value", "messages[0].content[1]"),
    "chat-image-badb64": Refusal("unsupported_value", "messages[0].content[1]"),
    "logprobs-21": Refusal("invalid_value", "top_logprobs"),
    "embed-empty-str": Refusal("invalid_value", "input"),
    "embed-mixed-empty": Refusal("invalid_value", "input[1]"),
    "embed-missing": Refusal("missing_required_parameter", "input"),
}

# Requests that the facade puts right, or has no way to put: only their answers are replayed.
ANSWER_ONLY: Final[Mapping[str, str]] = {
    "chat-content-parts": "parts of text go upstream as one text",
    "embed-ints": "token ids go upstream as text",
    "generate-badformat": "text completions have no response_format",
    "tools-args-string": "the arguments go upstream as an object",
    "tools-badschema": "a boolean schema goes upstream as an object",
    "tools-type-array": "a list of types goes upstream as one type",
}


def replayed() -> list[Exchange]:
    """Every exchange that an answer of the facade can be compared with."""
    elsewhere = WITHOUT_EQUIVALENT.keys() | REFUSED_HERE.keys()
    return [one for one in recorded() if one.id not in elsewhere]
