"""The recorded exchanges of OpenAI's wires, whoever answered, and those that are left out.

Every line of every file is either replayed or left out for a reason that is said: an exchange
that is new is never left out in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from tests.parts import corpus

Json = dict[str, Any]
CHAT: Final = "openai-chat"
EMBEDDINGS: Final = "openai-embeddings"
_VERBS: Final = {CHAT: "/chat/completions", EMBEDDINGS: "/embeddings"}
_TWO_ANSWERS: Final = "one body that holds two answers, joined by whoever kept it"
_LEFT_OUT: Final[Mapping[str, str]] = {"cerebras-009": _TWO_ANSWERS}


class Exchange(NamedTuple):
    """`base` and `query` are what stands before and after the verb in the path.

    `reads` are the lengths of the recorder's network reads, () where it did not keep them.
    """

    id: str
    provider: str
    wire: str
    base: str
    query: str
    request: Json | None
    status: int
    headers: Mapping[str, str]
    body: bytes
    reads: tuple[int, ...]

    @property
    def verb(self) -> str:
        return _VERBS[self.wire]

    @property
    def streamed(self) -> bool:
        """Whether a stream was asked; without a request the answer tells."""
        if self.request is not None:
            return bool(self.request.get("stream"))
        return self.headers.get("content-type", "").startswith("text/event-stream")


class LeftOut(NamedTuple):
    id: str
    reason: str


def recorded() -> Iterator[Exchange | LeftOut]:
    """All lines of the corpus; none where there is none."""
    for path in sorted(corpus().glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            yield _exchange(json.loads(line))


def _exchange(kept: Json) -> Exchange | LeftOut:
    id_, provider, wire = kept["id"], kept["provider"], kept["wire"]
    path, _, query = kept["path"].partition("#")[0].partition("?")
    verb = _VERBS.get(wire)
    if verb is None:
        return LeftOut(id_, f"its wire is {wire}")
    if kept["method"] != "POST" or not path.endswith(verb):
        return LeftOut(id_, f"{kept['method']} {path} is not a call of a model")
    if id_ in _LEFT_OUT:
        return LeftOut(id_, _LEFT_OUT[id_])
    return Exchange(
        id=id_,
        provider=provider,
        wire=wire,
        base=path.removesuffix(verb),
        query=query,
        request=kept["request"],
        status=kept["status"],
        headers={name.lower(): value for name, value in kept["response_headers"].items()},
        body=kept["body"].encode(),
        reads=tuple(kept.get("chunk_lengths") or ()),
    )


def replayed() -> list[Exchange]:
    return [one for one in recorded() if isinstance(one, Exchange)]


def left_out() -> list[LeftOut]:
    return [one for one in recorded() if isinstance(one, LeftOut)]


# -- the body in pieces --------------------------------------------------------------------


class Play(NamedTuple):
    """One way to play an answer. `usage` None: asked as it was recorded."""

    name: str
    pieces: tuple[bytes, ...]
    usage: bool | None = None
    broken: bool = False  # the body breaks off at its end
    cut: bool = False  # its tail is missing


def plays(exchange: Exchange) -> Iterator[Play]:
    """Every way in which the exchange is played; the first is the network's, where it is known."""
    body = exchange.body
    if sum(exchange.reads) == len(body):
        yield Play("as it came", tuple(_cut(body, exchange.reads)))
    if exchange.status != 200 or not exchange.streamed:
        yield Play("whole", (body,))
        return
    yield Play("whole, usage asked", (body,), usage=True)
    yield Play("by lines", tuple(body.splitlines(keepends=True)), usage=False)
    yield Play("by 7 bytes", tuple(body[at : at + 7] for at in range(0, len(body), 7)))
    head = before_its_finish(body)
    if head is not None:
        yield Play("without its finish", (head,), cut=True)
        yield Play("broken off before its finish", (head,), broken=True, cut=True)


def _cut(body: bytes, lengths: tuple[int, ...]) -> Iterator[bytes]:
    start = 0
    for length in lengths:
        yield body[start : start + length]
        start += length


def events_of(body: bytes) -> list[bytes]:
    """The events of a stream as they came, each with the blank line that ends it."""
    return re.findall(rb".*?(?:\r\n\r\n|\n\n|\r\r|\Z)", body, re.DOTALL)


def json_of(event: bytes) -> Json | None:
    """The JSON object of an event; None for comments, [DONE] and what is no event."""
    lines = re.split(rb"\r\n|\n|\r", event)
    data = b"\n".join(line[5:] for line in lines if line.startswith(b"data:"))
    if not data.strip() or data.strip() == b"[DONE]":
        return None
    said: Json = json.loads(data)
    return said


def before_its_finish(body: bytes) -> bytes | None:
    """The stream up to the event that ends its first choice; None for one that never ended well."""
    head = b""
    for event in events_of(body):
        said = json_of(event) or {}
        choices = said.get("choices") or ()
        if said.get("error"):
            return None
        if any(choice.get("finish_reason") for choice in choices):
            return head
        if said.get("usage") and not choices:  # all that ends a stream without a finish
            return head
        head += event
    return None
