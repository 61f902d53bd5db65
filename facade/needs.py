"""What a request needs of a model, as far as it is certain; looked at only where there is a choice.

A prompt has at least an eighth of its bytes in tokens. Forced tools need no model that knows
tools: a dialect without them constrains what is generated.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from adapters.wire import ChatCall, ChatRequest, CompletionCall, EmbeddingCall, Input
from facade.limits import estimates

_SHORT: Final = 2048  # bytes of a body: no window is as small as their 256 tokens


class Needs(Struct, frozen=True):
    """`tokens`: the longest of its prompts has no fewer."""

    capabilities: frozenset[str] = frozenset()
    tokens: int = 0


NONE: Final = Needs()
_EMBEDDING: Final = frozenset({"embedding"})


def of_chat(call: ChatCall) -> Needs:
    """Those of `/v1/chat/completions`."""
    request = call.request
    tools = bool(request.tools or request.functions) and _may_call(request)
    images = _has_images(request)
    long = len(call.body) > _SHORT
    if not (tools or images or long):
        return NONE
    named = {"tools": tools, "vision": images}
    wanted = frozenset(name for name, so in named.items() if so)
    return Needs(wanted, estimates.of_messages(request).certain if long else 0)


def of_completion(call: CompletionCall) -> Needs:
    """Those of `/v1/completions`."""
    return Needs(tokens=_longest(call.request.prompt)) if len(call.body) > _SHORT else NONE


def of_embedding(call: EmbeddingCall) -> Needs:
    """Those of `/v1/embeddings`."""
    long = len(call.body) > _SHORT
    return Needs(_EMBEDDING, _longest(call.request.input) if long else 0)


def _may_call(request: ChatRequest) -> bool:
    """Whether the model is free to call a tool or not."""
    return (request.tool_choice or request.function_call) in (None, "auto")


def _has_images(request: ChatRequest) -> bool:
    """Nearly all contents are texts, so only the others are looked into."""
    listed = [message.content for message in request.messages if isinstance(message.content, list)]
    return bool(listed) and any(part.type == "image_url" for parts in listed for part in parts)


def _longest(given: Input | None) -> int:
    """Each text or list of ids is a prompt of its own; ids alone are one."""
    if isinstance(given, list) and not all(isinstance(item, int) for item in given):
        return max(estimates.of_input([item]).certain for item in given)
    return estimates.of_input(given).certain
