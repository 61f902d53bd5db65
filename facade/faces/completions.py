"""Chunks as `/v1/completions` writes them: streamed or whole, one instance per answer.

Choices are numbered prompt by prompt: `n` choices of the first prompt, then of the next.
Source: https://platform.openai.com/docs/api-reference/completions/object
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from adapters.dialect import Reply
from adapters.wire import Chunk, CompletionRequest, TokenLogprob, Usage
from facade.faces import sse
from facade.faces.usage import total, usage_json

_encode = msgspec.json.encode
_Json = dict[str, object]


class CompletionFace:
    """The two forms of one completion answer."""

    def __init__(self, request: CompletionRequest, reply: Reply) -> None:
        options = request.stream_options
        self._include_usage = bool(options and options.include_usage)
        self._n = request.n or 1
        self._echo = _prompts(request) if request.echo else None
        self._reply = reply
        self._offsets: dict[int, int] = {}  # characters written so far, by choice
        self._usages: dict[int, list[Usage]] = {}  # by prompt
        self._usage_chunk = b""  # the upstream's own, where it sent one

    def render(self, chunks: Iterable[Chunk]) -> bytes:
        """The events of these chunks, ready to be written. Usage is kept for `end`."""
        return b"".join(self._event(chunk) for chunk in chunks)

    def end(self) -> bytes:
        """The usage chunk, if it was asked for and is known, and [DONE]."""
        usage = self._total()
        if not (self._include_usage and usage):
            return sse.DONE
        if self._usage_chunk:
            return sse.event(self._usage_chunk) + sse.DONE
        return sse.event(_encode(self._head() | {"choices": [], "usage": usage})) + sse.DONE

    def whole(self, chunks: Iterable[Chunk]) -> bytes:
        """The chunks folded into one text_completion."""
        parts: dict[int, list[Chunk]] = {}
        for chunk in chunks:
            self._count(chunk)
            parts.setdefault(chunk.choice, []).append(chunk)
        answer = self._head()
        answer["choices"] = [self._choice(index, parts[index]) for index in sorted(parts)]
        usage = self._total()
        if usage:
            answer["usage"] = usage
        return _encode(answer)

    def _event(self, chunk: Chunk) -> bytes:
        self._count(chunk)
        if chunk.raw:
            self._usage_chunk = chunk.raw if chunk.usage else self._usage_chunk
            return b"" if chunk.usage else sse.event(chunk.raw)
        if not (chunk.content or chunk.finish or chunk.logprobs or self._owes_echo(chunk.choice)):
            return b""
        event = self._head()
        event["choices"] = [self._choice(chunk.choice, [chunk])]
        if self._include_usage:
            event["usage"] = None
        return sse.event(_encode(event))

    def _owes_echo(self, choice: int) -> bool:
        return self._echo is not None and choice not in self._offsets

    def _choice(self, index: int, chunks: Sequence[Chunk]) -> _Json:
        text = self._echo[index // self._n] if self._echo and self._owes_echo(index) else ""
        offset = self._offsets.get(index, 0) + len(text)
        tokens = [token for chunk in chunks for token in chunk.logprobs or ()]
        known = any(chunk.logprobs is not None for chunk in chunks)
        text += "".join(chunk.content for chunk in chunks)
        self._offsets[index] = self._offsets.get(index, 0) + len(text)
        return {
            "text": text,
            "index": index,
            "logprobs": _logprobs_json(tokens, offset) if known else None,
            "finish_reason": next((chunk.finish for chunk in chunks if chunk.finish), None),
        }

    def _head(self) -> _Json:
        reply = self._reply
        head: _Json = {
            "id": f"cmpl-{reply.id}",
            "object": "text_completion",
            "created": reply.created,
            "model": reply.model,
        }
        if reply.fingerprint:
            head["system_fingerprint"] = reply.fingerprint
        return head

    def _count(self, chunk: Chunk) -> None:
        if chunk.usage:
            self._usages.setdefault(chunk.choice // self._n, []).append(chunk.usage)

    def _total(self) -> _Json | None:
        each = [usage for usages in self._usages.values() if (usage := total(usages))]
        if not each:
            return None
        return usage_json(
            Usage(
                prompt_tokens=sum(usage.prompt_tokens for usage in each),
                completion_tokens=sum(usage.completion_tokens for usage in each),
            )
        )


def _prompts(request: CompletionRequest) -> list[str]:
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    return [text for text in prompt or () if isinstance(text, str)]


def _logprobs_json(tokens: Sequence[TokenLogprob], offset: int) -> _Json:
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += sum(byte & 0xC0 != 0x80 for byte in token.bytes)  # its characters, by UTF-8
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {chance.token: chance.logprob for chance in token.top_logprobs} or None
            for token in tokens
        ],
        "text_offset": offsets,
    }
