"""What is read of a line of /api/chat or /api/generate; the rest is never looked at.

Source: https://github.com/ollama/ollama/blob/main/api/types.go
"""

from __future__ import annotations

from msgspec import Raw, Struct

from adapters.wire import NULL


class Function(Struct, frozen=True):
    name: str
    arguments: Raw = NULL


class Call(Struct, frozen=True):
    function: Function
    id: str | None = None


class Message(Struct, frozen=True):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[Call] | None = None


class Chance(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int] | None = None


class Token(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[Chance] | None = None


class Line(Struct, frozen=True):
    """A line of /api/chat (`message`) or /api/generate (`response`, `thinking`)."""

    message: Message | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool | None = None
    done_reason: str | None = None
    created_at: str | None = None
    logprobs: list[Token] | None = None
    prompt_eval_count: int | None = None
    prompt_eval_cached_count: int | None = None
    eval_count: int | None = None
    error: Raw = NULL
