"""Why an answer ended, in OpenAI's five words, whatever the upstream calls it.

Strategy: vendors pass on what the model's own server said, so the words of all of them are
known here. An unknown word is a normal end; a word for a failure is no end at all.
Source: https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from adapters import openai_glance as glance
from adapters.errors import Kind, UpstreamError
from adapters.openai_glance import Choice
from adapters.patching import Inside, patched
from adapters.wire import NULL, Chunk

WHOLE: Final = ("stop", "tool_calls", "function_call")  # the others say themselves what is missing
_LENGTH: Final = (
    "length",
    "max_length",
    "max_output_tokens",
    "max_tokens",
    "model_context_window_exceeded",
    "model_length",
)
_FILTERED: Final = (
    "blocklist",
    "content_filter",
    "content_filtered",
    "guardrail_intervened",
    "image_safety",
    "language",
    "model_armor",
    "prohibited_content",
    "recitation",
    "refusal",
    "safety",
    "sensitive",
    "spii",
)
_WORDS: Final = (
    dict.fromkeys(_LENGTH, "length")
    | dict.fromkeys(_FILTERED, "content_filter")
    | dict.fromkeys(("tool_call", "tool_calls", "tool_use"), "tool_calls")
    | {"function_call": "function_call"}
)
_FAILED: Final = {
    "abort": Kind.FAILED,
    "error": Kind.FAILED,
    "insufficient_system_resource": Kind.OVERLOADED,
    "malformed_function_call": Kind.FAILED,
    "network_error": Kind.GATEWAY,
    "timeout": Kind.TIMEOUT,
    "unexpected_tool_call": Kind.FAILED,
}


def told(said: str, stop: str) -> str:
    """The reason `said` in OpenAI's words; `stop` is what a normal end is called here.

    After calls that is `tool_calls` (or `function_call`). Raises UpstreamError for a failure.
    """
    word = said.lower()
    if word in _FAILED:
        raise UpstreamError(_FAILED[word], f"the upstream ended its answer with {said!r}")
    return _WORDS.get(word, stop)


def said_as(reason: str, choice: Choice) -> Inside:
    """What must be changed in a choice for it to end with `reason`: its own word is kept."""
    if reason == choice.finish_reason:
        return Inside()
    changes = Inside(finish_reason=reason)
    if choice.finish_reason and not choice.native_finish_reason:
        changes["native_finish_reason"] = choice.finish_reason
    return changes


def left_out(last: Chunk) -> list[Chunk]:
    """What a chunk says beside that its choice has ended, if anything."""
    if not (last.content or last.reasoning or last.refusal or last.tool_calls):
        return []
    places = range(len(glance.answers.decode(last.raw).choices or ()))
    unsaid = Inside((place, Inside(finish_reason=NULL)) for place in places)
    return [replace(last, finish=None, raw=patched(last.raw, Inside(choices=unsaid)))]
