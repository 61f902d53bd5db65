"""Ollama's NDJSON answers, line by line, as chunks: /api/chat and /api/generate alike.

A line may carry anything, the last one too: text, thinking, tool calls, log probabilities.
Only a line with `done` true ends an answer; an end without one is Incomplete.
Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Raw, Struct

from adapters import ollama_errors
from adapters.dialect import Reply
from adapters.errors import Incomplete, broken
from adapters.forced import ForcedAnswer, Piece
from adapters.framing import LineFramer
from adapters.logprobs import aligned
from adapters.wire import Chunk, TokenChance, TokenLogprob, ToolDelta, Usage

FINISH_REASONS: Final = {"length": "length"}  # every other reason ("stop", "load", none) is "stop"
_FRACTION: Final = re.compile(r"\.\d+")
_DISCARDED_TOKENS: Final = 1024  # read this far past a call that is not wanted, for the counts


class _Function(Struct, frozen=True):
    name: str
    arguments: Raw = Raw(b"{}")


class _Call(Struct, frozen=True):
    function: _Function
    id: str = ""


class _Message(Struct, frozen=True):
    content: str = ""
    thinking: str = ""
    tool_calls: list[_Call] | None = None


class _Chance(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Token(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[_Chance] | None = None


class _Line(Struct, frozen=True):
    message: _Message = _Message()
    response: str = ""
    thinking: str = ""
    done: bool | None = None
    done_reason: str | None = None
    created_at: str = ""
    logprobs: list[_Token] | None = None
    prompt_eval_count: int | None = None
    prompt_eval_cached_count: int | None = None
    eval_count: int | None = None
    error: Raw = Raw(b"")


_NOTHING: Final = (Raw(b""), Raw(b"null"))
_line = msgspec.json.Decoder(_Line)


class Expected(Struct, frozen=True):
    """What the request asked, as far as reading the answer depends on it."""

    choice: int = 0
    logprobs: bool = False
    one_call: bool = False  # parallel_tool_calls false
    forced: bool = False
    formatted: bool = False
    param: str = "messages"  # the field that holds the input, for errors


class OllamaStream:
    """The StreamDecoder of this dialect."""

    def __init__(self, expected: Expected, reply: Reply) -> None:
        self.done = False
        self.reply = reply
        self._expected = expected
        self._framer = LineFramer()
        self._forced = ForcedAnswer() if expected.forced else None
        self._begun = False
        self._calls = 0
        self._ids: set[str] = set()
        self._waiting: list[TokenLogprob] = []
        self._thoughts = 0  # lines of thinking: a line is a token
        self._spoken = 0  # lines of anything else
        self._discarded = 0  # tokens since the one call that was wanted

    def feed(self, data: bytes) -> list[Chunk]:
        return self._read(self._framer.feed(data))

    def close(self) -> list[Chunk]:
        chunks = self._read(self._framer.close(), last=True)
        if not self.done:
            raise Incomplete
        return chunks

    def _read(self, lines: list[bytes], last: bool = False) -> list[Chunk]:
        chunks: list[Chunk] = []
        for json in lines:
            if self.done:
                break
            self._take(self._decode(json, last), chunks)
        return chunks

    def _decode(self, json: bytes, last: bool) -> _Line:
        try:
            line = _line.decode(json)
        except (msgspec.DecodeError, UnicodeDecodeError):
            if last:  # the end of the body cut it
                raise Incomplete from None
            raise broken("Ollama sent a line that is not JSON of its API") from None
        if line.error not in _NOTHING:
            raise ollama_errors.decode(500, _NO_HEADERS, json, self._expected.param)
        if line.done is None:
            raise broken("Ollama sent an object that is no part of an answer")
        return line

    def _take(self, line: _Line, chunks: list[Chunk]) -> None:
        choice = self._expected.choice
        if not self._begun:
            self._begun = True
            self._date(line.created_at)
            chunks.append(Chunk(choice=choice, role=True))
        message = line.message
        content, thinking = message.content or line.response, message.thinking or line.thinking
        tokens = [_token(token) for token in line.logprobs or ()]
        self._count(content, thinking, len(tokens))
        if thinking:
            self._waiting.clear()
            chunks.append(Chunk(choice=choice, reasoning=thinking))
        self._waiting += tokens
        if content:
            self._say(content, chunks)
        for call in message.tool_calls or ():
            self._waiting.clear()
            self._call(call, chunks)
        if line.done:
            self._finish(line, chunks)
        elif self._discarded > _DISCARDED_TOKENS:
            self._end("tool_calls", chunks)

    def _date(self, created_at: str) -> None:
        """The answer begins when the server says so."""
        began = unix_time(created_at)
        if began is not None:
            self.reply = msgspec.structs.replace(self.reply, created=began)

    def _count(self, content: str, thinking: str, tokens: int) -> None:
        self._thoughts += bool(thinking)
        self._spoken += bool(content)
        if self._expected.one_call and self._calls:
            self._discarded += max(tokens, 1)

    def _say(self, content: str, chunks: list[Chunk]) -> None:
        choice = self._expected.choice
        if self._forced:
            self._unwrap(self._forced.feed(content), chunks)
        elif self._expected.logprobs:
            spelled = aligned(self._waiting, content)
            chunks.append(Chunk(choice=choice, content=content, logprobs=spelled))
        else:
            chunks.append(Chunk(choice=choice, content=content))
        self._waiting.clear()

    def _unwrap(self, piece: Piece, chunks: list[Chunk]) -> None:
        choice = self._expected.choice
        if piece.content:
            chunks.append(Chunk(choice=choice, content=piece.content))
        if piece.name is not None:
            delta = ToolDelta(self._calls, id=self._fresh_id(""), name=piece.name)
            self._calls += 1
            chunks.append(Chunk(choice=choice, tool_calls=(delta,)))
        if piece.arguments:
            delta = ToolDelta(self._calls - 1, arguments=piece.arguments)
            chunks.append(Chunk(choice=choice, tool_calls=(delta,)))

    def _call(self, call: _Call, chunks: list[Chunk]) -> None:
        if self._expected.one_call and self._calls:
            return
        index, self._calls = self._calls, self._calls + 1
        arguments = msgspec.json.format(call.function.arguments, indent=-1).decode()
        head = ToolDelta(index, id=self._fresh_id(call.id), name=call.function.name)
        body = ToolDelta(index, arguments="{}" if arguments == "null" else arguments)
        chunks.append(Chunk(choice=self._expected.choice, tool_calls=(head, body)))

    def _fresh_id(self, given: str) -> str:
        """The server's id, or one of ours where it gives none or gives one twice."""
        if not given or given in self._ids:
            given = f"call_{self.reply.id[:20]}{self._expected.choice:02d}{self._calls:02d}"
        self._ids.add(given)
        return given

    def _finish(self, line: _Line, chunks: list[Chunk]) -> None:
        reason = FINISH_REASONS.get(line.done_reason or "", "stop")
        if self._forced:
            self._forced.close(whole=reason == "stop")
        if reason == "stop" and self._calls:
            reason = "tool_calls"
        self._end(reason, chunks)
        chunks.append(Chunk(choice=self._expected.choice, usage=self._usage(line)))

    def _end(self, reason: str, chunks: list[Chunk]) -> None:
        self.done = True
        chunks.append(Chunk(choice=self._expected.choice, finish=reason))

    def _usage(self, line: _Line) -> Usage:
        generated = line.eval_count or 0
        # A constrained answer after thinking is a second pass, and only that one is counted.
        if self._expected.formatted and generated < self._thoughts + self._spoken:
            generated += self._thoughts
        return Usage(
            prompt_tokens=line.prompt_eval_count or 0,
            completion_tokens=generated,
            cached_tokens=line.prompt_eval_cached_count,
            reasoning_tokens=self._thoughts or None,
            partial=line.prompt_eval_count is None or line.eval_count is None,
        )


def unix_time(text: str) -> int | None:
    """RFC 3339 in whole seconds; Go writes 0 to 9 digits of fraction, and any offset."""
    try:
        return int(datetime.fromisoformat(_FRACTION.sub("", text)).timestamp())
    except ValueError:
        return None


_NO_HEADERS: Final[Mapping[str, str]] = {}


def _token(token: _Token) -> TokenLogprob:
    return TokenLogprob(
        token.token,
        token.logprob,
        _bytes(token.token, token.bytes),
        [
            TokenChance(chance.token, chance.logprob, _bytes(chance.token, chance.bytes))
            for chance in token.top_logprobs or ()
        ],
    )


def _bytes(token: str, given: list[int] | None) -> list[int]:
    return given if given is not None else list(token.encode())
