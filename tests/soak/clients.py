"""Clients that ask at random, read to the end or leave, and notice a wrong answer."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Final

from tests.api.asking import DONE, Answer, Conversation, Json, answer_of, request
from tests.fake_upstream import FakeUpstream, faults

_TEXTS: Final = ("You said: Hi", "Hi")  # of the fakes, to whoever asks nothing particular
_MODELS: Final = ("assistant", "whole", "one/llama3.1", "two/llama3.1")
_LONGEST_STAY: Final = 0.4  # seconds of a client that leaves
_BOUND: Final = 60.0  # seconds; no answer takes as long

FAULTS: Final[Sequence[faults.Fault]] = (
    *(faults.Status(code) for code in (400, 401, 404, 408, 422, 500, 502, 503)),
    faults.Status(429),
    faults.Status(429, headers={"retry-after": "1"}),
    faults.ContextOverflow(),
    faults.DelayHeaders(0.2),
    faults.DelayContent(0.6),
    faults.DelayLines(0.05),
    faults.CutBeforeHeaders(),
    faults.CutBeforeContent(),
    faults.CutAfter(300),
    faults.Garbage(0),
    faults.Garbage(2),
    faults.MalformedChunks(2),
    faults.NoEnd(),
    faults.ErrorLine(0),
    faults.ErrorLine(2),
    faults.HangBeforeHeaders(),
    faults.HangBeforeContent(),
    faults.HangAfter(2),
    faults.Slices(3),
    faults.Html(),
    faults.EmptyObject(),
)


class Clients:
    """All that ask the facade at this port. `seen` counts what became of their requests."""

    def __init__(self, port: int, fakes: Sequence[FakeUpstream], random: Random) -> None:
        self.seen: Counter[str] = Counter()
        self._port = port
        self._fakes = fakes
        self._random = random

    async def ask(self, until: float) -> None:
        """Ask again and again, until that time of the loop."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            if self._random.random() < 0.6:
                self._random.choice(self._fakes).fault(self._random.choice(FAULTS))
            stays = self._random.random() < 0.75
            async with asyncio.timeout(_BOUND):
                self.seen[await self._once(None if stays else self._stay())] += 1

    async def _once(self, stay: float | None) -> str:
        """Send one request; leave after so many seconds (None: stay). What became of it."""
        path, body = self._anything()
        headers = {}
        if self._random.random() < 0.1:
            headers["idempotency-key"] = str(zlib.crc32(f"{path} {body}".encode()))
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(request("POST", path, json.dumps(body).encode(), **headers))
            try:
                async with asyncio.timeout(stay):
                    return _judged(await answer_of(Conversation(reader, writer)))
            except TimeoutError:
                return "left"
        finally:
            writer.transport.abort()

    def _stay(self) -> float:
        return self._random.random() * _LONGEST_STAY

    def _anything(self) -> tuple[str, Json]:
        model = self._random.choice(_MODELS)
        kind = self._random.random()
        streamed = self._random.random() < 0.6
        if kind < 0.1:
            return "/v1/embeddings", {"model": "one/nomic-embed-text", "input": "Hi"}
        if kind < 0.2:
            return "/v1/completions", {"model": model, "prompt": "Hi", "stream": streamed}
        message = {"role": "user", "content": "Hi"}
        return "/v1/chat/completions", {"model": model, "messages": [message], "stream": streamed}


def _judged(answer: Answer) -> str:
    """What became of a request whose client stayed."""
    if not answer.complete:
        return "broken off"
    if answer.status != 200:
        return "wrong" if answer.error["code"] == "internal_error" else "refused"
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return _of_whole(answer.json)
    *chunks, last = answer.events
    if last != DONE:
        return "failed" if "error" in json.loads(last) else "wrong"
    choices = [choice for chunk in chunks for choice in json.loads(chunk)["choices"]]
    return _of_text("".join(_text(choice, "delta") for choice in choices))


def _of_whole(said: Json) -> str:
    if said["object"] == "list":
        return "good" if said["data"] else "wrong"
    return _of_text(_text(said["choices"][0], "message"))


def _text(choice: Json, where: str) -> str:
    """What a choice says, of a completion or of a chat."""
    return choice.get("text") or choice.get(where, {}).get("content") or ""


def _of_text(text: str) -> str:
    return "good" if text in _TEXTS else "wrong"
