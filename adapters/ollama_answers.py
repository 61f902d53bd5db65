"""Ollama's NDJSON answers, line by line, as chunks: /api/chat and /api/generate alike.

A line may carry anything, the last one too: text, thinking, tool calls, log probabilities.
Only a line with `done` true ends an answer; an end without one is Incomplete.
Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Raw, Struct

from adapters import ollama_errors
from adapters import ollama_runs as runs
from adapters.dialect import Reply
from adapters.errors import Incomplete, UpstreamError, broken
from adapters.forced import ForcedAnswer, Piece
from adapters.framing import LineFramer
from adapters.logprobs import aligned
from adapters.ollama_lines import Call, Line, Message, Token
from adapters.wire import NULL, Chunk, TokenChance, TokenLogprob, ToolDelta, Usage

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION: Final = re.compile(r"\.\d+")
_DISCARDED_TOKENS: Final = 1024  # read this far past a call that is not wanted, for the counts


_line = msgspec.json.Decoder(Line)
_arguments = msgspec.json.Decoder(str)


class Expected(Struct, frozen=True):
    """What the request asked, as far as reading the answer depends on it."""

    choice: int = 0
    logprobs: bool = False
    one_call: bool = False  # no parallel calls: those after the first are discarded
    forced: frozenset[str] | None = None  # the functions a constrained answer may name
    formatted: bool = False


class OllamaStream:
    """The StreamDecoder of this dialect."""

    def __init__(self, expected: Expected, reply: Reply) -> None:
        self.done = False
        self.reply = reply
        self._expected = expected
        self._framer = LineFramer()
        self._forced = None if expected.forced is None else ForcedAnswer(expected.forced)
        self._begun = False
        self._calls = 0
        self._ids: set[str] = set()
        self._waiting: list[Token] = []  # whose text has not come, and may never
        self._thoughts = 0  # tokens of thinking
        self._spoken = 0  # tokens of content
        self._discarded = 0  # tokens since the one call that was wanted
        self._failure: UpstreamError | None = None
        self._only_text = not (expected.logprobs or expected.one_call or self._forced)

    def feed(self, data: bytes) -> list[Chunk]:
        if self._failure:
            raise self._failure
        chunks: list[Chunk] = []
        if not (self._begun and self._framer.between_lines):
            first, end, data = data.partition(b"\n")  # it tells when the answer began, or was cut
            self._read(self._framer.feed(first + end), chunks)
        if data and self._only_text and not self.done and self._framer.between_lines:
            run = runs.take(data, self._expected.choice)
            if run:
                chunk, at = run
                chunks.append(chunk)
                if chunk.reasoning:
                    self._thoughts += len(chunk.pieces)
                else:
                    self._spoken += len(chunk.pieces)
                data = data[at:]
        if data:
            self._read(self._framer.feed(data), chunks)
        return chunks

    def close(self) -> list[Chunk]:
        chunks: list[Chunk] = []
        self._read(self._framer.close(), chunks, last=True)
        if self._failure:
            raise self._failure
        if not self.done:
            raise Incomplete
        return chunks

    def _read(self, lines: list[bytes], chunks: list[Chunk], last: bool = False) -> None:
        """An error is kept for the next call where there are chunks before it."""
        if self._failure:
            return
        try:
            for json in lines:
                if self.done:
                    break
                self._take(json, chunks)
        except ollama_errors.UNREADABLE:
            cut = last and lines[0].startswith(b"{")  # by the end of the body
            self._failure = Incomplete() if cut else broken("Ollama sent a line that is no answer")
        except UpstreamError as error:
            self._failure = error
        if self._failure:
            self.done = True
            if not chunks:
                raise self._failure

    def _take(self, json: bytes, chunks: list[Chunk]) -> None:
        line = _line.decode(json)
        if line.error != NULL:
            raise ollama_errors.decode(500, _NO_HEADERS, json)
        if line.done is None:
            raise broken("Ollama sent an object that is no part of an answer")
        if not self._begun:
            self._begin(line, chunks)
        message = line.message or _SILENT
        thinking = message.thinking or line.thinking
        content = message.content or line.response
        if self._expected.one_call and self._calls:
            self._discarded += _tokens(line)
        if thinking:
            self._think(thinking, line, chunks)
        if self._expected.logprobs and (content or not thinking):
            self._waiting += line.logprobs or ()
        if content:
            self._say(content, line, chunks)
        for call in message.tool_calls or ():
            self._call(call, chunks)
        if line.done or self._discarded > _DISCARDED_TOKENS:
            self._finish(line, chunks)

    def _begin(self, line: Line, chunks: list[Chunk]) -> None:
        """The answer begins when the server says so; the lines that follow are like the first."""
        self._begun = True
        self._only_text &= line.message is not None and not line.logprobs
        began = unix_time(line.created_at or "")
        if began is not None:
            self.reply = msgspec.structs.replace(self.reply, created=began)
        chunks.append(Chunk(choice=self._expected.choice, role=True))

    def _think(self, thinking: str, line: Line, chunks: list[Chunk]) -> None:
        self._waiting.clear()
        self._thoughts += _tokens(line)
        chunks.append(Chunk(choice=self._expected.choice, reasoning=thinking))

    def _say(self, content: str, line: Line, chunks: list[Chunk]) -> None:
        choice = self._expected.choice
        self._spoken += _tokens(line)
        if self._forced:
            self._unwrap(self._forced.feed(content), chunks)
        elif self._expected.logprobs:
            spelled = aligned([_token(token) for token in self._waiting], content)
            chunks.append(Chunk(choice=choice, content=content, logprobs=spelled))
        else:
            chunks.append(Chunk(choice=choice, content=content))
        self._waiting.clear()

    def _unwrap(self, piece: Piece, chunks: list[Chunk]) -> None:
        choice = self._expected.choice
        if piece.content:
            chunks.append(Chunk(choice=choice, content=piece.content))
        if piece.name is not None:
            delta = ToolDelta(0, id=self._fresh_id(""), name=piece.name)
            self._calls = 1
            chunks.append(Chunk(choice=choice, tool_calls=(delta,)))
        if piece.arguments:
            delta = ToolDelta(0, arguments=piece.arguments)
            chunks.append(Chunk(choice=choice, tool_calls=(delta,)))

    def _call(self, call: Call, chunks: list[Chunk]) -> None:
        self._waiting.clear()
        if self._expected.one_call and self._calls:
            return
        head = ToolDelta(self._calls, id=self._fresh_id(call.id or ""), name=call.function.name)
        body = ToolDelta(self._calls, arguments=_compact(call.function.arguments))
        self._calls += 1
        chunks.append(Chunk(choice=self._expected.choice, tool_calls=(head, body)))

    def _fresh_id(self, given: str) -> str:
        """The server's id, or one of ours where it gives none or gives one twice."""
        if not given or given in self._ids:
            given = f"call_{self.reply.id[:17]}{self._expected.choice:04d}{self._calls:03d}"
        self._ids.add(given)
        return given

    def _finish(self, line: Line, chunks: list[Chunk]) -> None:
        self.done = True
        choice, reason = self._expected.choice, "stop"  # also for "load", "unload" and none
        if line.done_reason == "length":
            reason = "length"
        else:
            if self._forced:
                self._forced.close()
            if self._calls:
                reason = "tool_calls"
        chunks.append(Chunk(choice=choice, finish=reason))
        chunks.append(Chunk(choice=choice, usage=self._usage(line)))

    def _usage(self, line: Line) -> Usage:
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


_SILENT: Final = Message()
_NO_HEADERS: Final[Mapping[str, str]] = {}


def unix_time(text: str) -> int | None:
    """RFC 3339 in whole seconds; Go writes 0 to 9 digits of fraction, and any offset.

    None for what is no time, and for Go's zero time, which means that it is not known.
    """
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text))
        seconds = int((moment - _EPOCH).total_seconds())
    except (ValueError, TypeError, OverflowError):  # TypeError: without an offset
        return None
    return seconds if seconds > 0 else None


def _tokens(line: Line) -> int:
    """How many a line holds: known if it has log probabilities, else a line is one."""
    return len(line.logprobs) if line.logprobs else 1


def _compact(arguments: Raw) -> str:
    """The arguments as OpenAI writes them: a string of JSON, its numbers as they came."""
    if bytes(arguments).startswith(b'"'):  # some servers give the string already
        arguments = Raw(_arguments.decode(arguments).encode() or b"null")
    text = msgspec.json.format(arguments, indent=-1).decode()
    return "{}" if text == "null" else text


def _token(token: Token) -> TokenLogprob:
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
