"""What is read of an OpenAI-shaped answer, whole or streamed; the rest is never looked at.

One set of types for both, and for chat and text completions. null and absent are the same,
but where a stream must omit a field: there absent is UNSET.
Source: https://platform.openai.com/docs/api-reference/chat/object and .../streaming
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from adapters import openai_errors
from adapters.errors import broken
from adapters.wire import NULL, Usage


class Function(Struct, frozen=True):
    """`arguments` should be a string of JSON; some upstreams give the object itself."""

    name: str | UnsetType | None = UNSET
    arguments: str | dict[str, Raw] | None = None


class Call(Struct, frozen=True):
    """A tool call, or a fragment of one."""

    index: int | None = None
    id: str | UnsetType | None = UNSET
    type: str | UnsetType | None = UNSET
    function: Function | None = None


class Message(Struct, frozen=True):
    """A message, or a delta of one. A list as `content` is not OpenAI's: it is not read."""

    role: str | None = None
    content: str | list[Raw] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None


class Choice(Struct, frozen=True):
    index: int | None = None
    delta: Message | None = None
    message: Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _PromptDetails(Struct, frozen=True):
    cached_tokens: int | None = None


class _CompletionDetails(Struct, frozen=True):
    reasoning_tokens: int | None = None


class Counts(Struct, frozen=True):
    """The `usage` object."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    def usage(self) -> Usage:
        prompt, completion = self.prompt_tokens, self.completion_tokens
        cached, reasoning = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            prompt_tokens=prompt or 0,
            completion_tokens=completion or 0,
            cached_tokens=cached.cached_tokens if cached else None,
            reasoning_tokens=reasoning.reasoning_tokens if reasoning else None,
            partial=prompt is None or completion is None,
        )


class Body(Struct, frozen=True):
    """The body of a 200, or an event: it may be an error all the same."""

    object: str | None = None
    error: Raw = NULL


class Answer(Body, frozen=True):
    """A whole answer, or an event of a streamed one."""

    id: str | None = None
    created: int | float | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Counts | None = None


Known = TypeVar("Known", bound=Body)
_NO_ERROR: Final = (b"null", b'""', b"{}", b"false")
answers = msgspec.json.Decoder(Answer)


def read(decoder: msgspec.json.Decoder[Known], json: bytes) -> Known:
    """Raises the UpstreamError that `json` tells, and `broken` for what is no answer."""
    try:
        body = decoder.decode(json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise broken(f"the upstream sent what is no answer: {error}") from error
    if bytes(body.error) not in _NO_ERROR or body.object == "error":
        raise openai_errors.told(json)
    return body
