"""What is measured: four kinds of answers, through each upstream, with the goals they have.

A goal is a part of what nginx reaches in the same run as a plain proxy of the same answer in
OpenAI's form; for the paced stream it is microseconds of CPU a chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

CHUNKS: Final = 100  # with text, of a stream
FLOATS: Final = 1536  # of an embedding
OPENAI: Final = "openai"
OLLAMA: Final = "ollama"
UPSTREAMS: Final = (OPENAI, OLLAMA)  # as the facade's configuration names them
KEY: Final = "sk-bench"
_MESSAGES: Final = (
    {"role": "system", "content": "You are a careful assistant. Answer in short sentences."},
    {"role": "user", "content": "Why is the sky blue at noon, and red in the evening? " * 5},
)
_EMBEDS: Final = {
    "input": "A sentence of some length whose meaning is to be kept as a vector.",
    "encoding_format": "float",
}
_ASKS: Final = {"messages": _MESSAGES, "temperature": 0.2, "max_tokens": 400}
_STREAMS: Final = {**_ASKS, "stream": True}


class Kind(NamedTuple):
    """One kind of answer. `counts`: what an answer counts for; `goals`: by upstream.

    `connections` ask at a time. A paced stream needs many: one that wakes a sleeping core for
    every chunk would measure the waking.
    """

    path: str
    fields: Mapping[str, object]
    goals: Mapping[str, str]
    counts: int = 1
    connections: int = 32

    def request(self, name: str, upstream: str, port: int) -> bytes:
        """The bytes that ask for it; the model's name tells the upstream which kind it is."""
        body = msgspec.json.encode({"model": f"{upstream}/{name}", **self.fields})
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
            f"authorization: Bearer {KEY}\r\nuser-agent: bench\r\naccept: application/json\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


_CHAT: Final = "/v1/chat/completions"
KINDS: Final[Mapping[str, Kind]] = {
    "chat": Kind(_CHAT, _ASKS, {OPENAI: "0.60", OLLAMA: "0.50"}),
    "embeddings": Kind("/v1/embeddings", _EMBEDS, {OPENAI: "0.60"}),
    "burst": Kind(_CHAT, _STREAMS, {OPENAI: "0.60", OLLAMA: "0.33"}),
    "paced": Kind(
        _CHAT, _STREAMS, {OPENAI: "<15 us", OLLAMA: "<15 us"}, counts=CHUNKS, connections=128
    ),
}
