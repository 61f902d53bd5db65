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
    wanted = {"tools"} if _offers_tools(request) else set()
    if any(
        isinstance(message.content, list)
        and any(part.type == "image_url" for part in message.content)
        for message in request.messages
    ):
        wanted.add("vision")
    tokens = estimates.of_messages(request).certain if len(call.body) > _SHORT else 0
    return Needs(frozenset(wanted), tokens) if wanted or tokens else NONE


def of_completion(call: CompletionCall) -> Needs:
    """Those of `/v1/completions`."""
    return Needs(tokens=_longest(call.request.prompt)) if len(call.body) > _SHORT else NONE


def of_embedding(call: EmbeddingCall) -> Needs:
    """Those of `/v1/embeddings`."""
    long = len(call.body) > _SHORT
    return Needs(_EMBEDDING, _longest(call.request.input) if long else 0)


def _offers_tools(request: ChatRequest) -> bool:
    """Whether the model is free to call one."""
    offered = request.tools or request.functions
    chosen = request.tool_choice or request.function_call
    return bool(offered) and chosen in (None, "auto")


def _longest(given: Input | None) -> int:
    """Each text or list of ids is a prompt of its own; ids alone are one."""
    if isinstance(given, list) and not all(isinstance(item, int) for item in given):
        return max(estimates.of_input([item]).certain for item in given)
    return estimates.of_input(given).certain
