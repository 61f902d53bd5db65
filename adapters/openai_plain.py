"""Chat completions that keep every rule: their types say so, and nothing is left to look at.

Strategy: nearly all answers are one choice with a text and a full usage. The decoder checks that
by itself, an order faster than anything written here; what does not fit goes the long way.
Source: https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from adapters.wire import Usage

_Count = Annotated[int, Meta(ge=0)]
_Name = Annotated[str, Meta(min_length=1)]


class _Object(Struct, frozen=True):
    """Not read."""


class _Message(Struct, frozen=True):
    role: Literal["assistant"]
    content: str
    tool_calls: Annotated[list[Raw], Meta(max_length=0)] | None = None
    function_call: None = None
    refusal: str | None = None
    audio: None = None


class _Choice(Struct, frozen=True):
    index: Literal[0]
    message: _Message
    finish_reason: Literal["stop", "length"]
    logprobs: _Object | None = None
    error: None = None
    text: None = None
    delta: None = None


class _PromptDetails(Struct, frozen=True):
    cached_tokens: _Count


class _CompletionDetails(Struct, frozen=True):
    reasoning_tokens: _Count


class _Usage(Struct, frozen=True):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _CompletionDetails


class _Completion(Struct, frozen=True):
    id: _Name
    object: Literal["chat.completion"]
    created: Annotated[int, Meta(gt=0)]
    model: _Name
    choices: tuple[_Choice]
    usage: _Usage
    error: None = None


_completion: Final = msgspec.json.Decoder(_Completion)


def usage(body: bytes) -> Usage | None:
    """The usage of such a completion; None if it is none."""
    try:
        said = _completion.decode(body).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if said.total_tokens != said.prompt_tokens + said.completion_tokens:
        return None
    return Usage(
        said.prompt_tokens,
        said.completion_tokens,
        said.prompt_tokens_details.cached_tokens,
        said.completion_tokens_details.reasoning_tokens,
    )
