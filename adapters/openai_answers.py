"""Whole answers of OpenAI-shaped upstreams: forwarded as they are where they keep the rules.

Source: https://platform.openai.com/docs/api-reference/chat/object and .../completions/object
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from adapters import openai_finish as finish
from adapters import openai_glance as glance
from adapters import openai_plain as plain
from adapters.dialect import Reply, Whole
from adapters.errors import broken
from adapters.openai_calls import call_id, text_of
from adapters.openai_counts import counted
from adapters.openai_parts import parted
from adapters.patching import Inside, patched
from adapters.wire import NULL


class Form(NamedTuple):
    """What tells a chat completion from a text completion. `mend` says what breaks a rule."""

    prefix: str
    object: str
    mend: Callable[[int, glance.Choice, Reply], Inside]


def completion(form: Form, body: bytes, reply: Reply) -> Whole:
    """A completion, patched where it breaks a rule."""
    usage = plain.usage(body) if form is CHAT else None
    if usage:
        return Whole(body, usage)
    answer = glance.read(glance.answers, body)
    if not answer.choices:
        raise glance.no_answer(body, "the upstream's answer has no choices")
    changes = _mend_names(form, answer, reply)
    mended = Inside(
        (place, changed)
        for place, choice in enumerate(answer.choices)
        if (changed := form.mend(place, choice, reply))
    )
    if mended:
        changes["choices"] = mended
    counts = counted(answer.usage)
    if counts and counts.changes:
        changes["usage"] = counts.changes
    elif not counts and answer.usage is not None:
        changes["usage"] = None  # it is no usage
    return Whole(patched(body, changes), counts.usage if counts else None)


def _mend_names(form: Form, answer: glance.Answer, reply: Reply) -> Inside:
    changes, created = Inside(), glance.unix_time(answer.created)
    if not (answer.id and isinstance(answer.id, str)):
        changes["id"] = str(answer.id or form.prefix + reply.id)
    if answer.object != form.object:
        changes["object"] = form.object
    if not (created and isinstance(answer.created, int)):
        changes["created"] = created or reply.created
    if not answer.model:
        changes["model"] = reply.model
    return changes


def _mend_chat(place: int, choice: glance.Choice, reply: Reply) -> Inside:
    message, inside = choice.message, Inside()
    legacy = message and message.function_call
    stop = "stop"
    if message and message.tool_calls:
        stop = "tool_calls"
    elif legacy and legacy.name:
        stop = "function_call"
    changes = _mend_choice(place, choice, stop)
    if message is None and changes.get("finish_reason", choice.finish_reason) != "content_filter":
        raise broken("a choice of the upstream's answer has no message")
    message = message or glance.Message()  # a filter took it
    if message.content is glance.ABSENT:
        inside["content"] = NULL
    if message.role != "assistant":
        inside["role"] = "assistant"
    if isinstance(message.content, list | dict):
        inside |= _joined(message.content, message.thoughts)
    if legacy and not legacy.name:
        inside["function_call"] = NULL
    calls = Inside(
        (number, changed)
        for number, call in enumerate(message.tool_calls or ())
        if (changed := _mend_call(call, call_id(reply, place, number)))
    )
    if calls:
        inside["tool_calls"] = calls
    if inside:
        changes["message"] = inside
    return changes


def _joined(content: list[object] | glance.Json, thoughts: str) -> Inside:
    parts = parted(content)
    joined = Inside(content=parts.text)
    if parts.thoughts:
        joined["reasoning_content"] = thoughts + parts.thoughts
    if parts.others:
        joined["content_parts"] = parts.others
    return joined


def _mend_text(place: int, choice: glance.Choice, _: Reply) -> Inside:
    changes = _mend_choice(place, choice, "stop")
    if choice.text is None:
        changes["text"] = ""
    return changes


def _mend_choice(place: int, choice: glance.Choice, stop: str) -> Inside:
    if choice.error:
        raise glance.failed(choice.error)
    changes = finish.said_as(finish.told(choice.finish_reason or "", stop), choice)
    if choice.index is None:
        changes["index"] = place
    if choice.has_odd_logprobs:
        changes["logprobs"] = NULL
    return changes


def _mend_call(call: glance.Call, fresh_id: str) -> Inside:
    changes = Inside()
    if not call.id:
        changes["id"] = fresh_id
    if not call.type:
        changes["type"] = "function"
    if call.function:
        arguments = text_of(call.function.arguments) or "{}"
        if arguments != call.function.arguments:
            changes["function"] = Inside(arguments=arguments)
    return changes


CHAT: Final = Form("chatcmpl-", "chat.completion", _mend_chat)
TEXT: Final = Form("cmpl-", "text_completion", _mend_text)
