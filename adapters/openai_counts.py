"""Tokens as OpenAI-shaped upstreams count them, and as OpenAI would have said it.

Strategy: nothing is guessed; what the numbers themselves prove is said in OpenAI's way. Where
the total is prompt + completion + reasoning, the completion was counted without its reasoning;
counts that stand elsewhere are repeated in OpenAI's place; a total that is missing is the sum.
A total that is more than the sum of what is told stays as it is.
Source: https://platform.openai.com/docs/api-reference/chat/object#chat/object-usage
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeGuard

from adapters.openai_glance import Json
from adapters.patching import Inside
from adapters.wire import Usage

_CACHED: Final = ("cached_tokens", "num_cached_tokens", "prompt_cache_hit_tokens")
_ELSEWHERE: Final = frozenset((*_CACHED, "reasoning_tokens"))  # of what OpenAI tells in details
_PROMPT: Final = "prompt_tokens_details"
_COMPLETION: Final = "completion_tokens_details"
_NOTHING: Final = Inside()


class Counted(NamedTuple):
    """`changes`: what must be changed in the upstream's object for the caller."""

    usage: Usage
    changes: Inside


def counted(said: object) -> Counted | None:
    """None where `said` is no usage."""
    if not isinstance(said, dict):
        return None
    plain = _plainly(said)
    if plain:
        return Counted(plain, _NOTHING)
    prompt, completion, total = (
        _count(said.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    cached = _first(_inside(said, _PROMPT, "cached_tokens"), *map(said.get, _CACHED))
    reasoning = _first(_inside(said, _COMPLETION, "reasoning_tokens"), said.get("reasoning_tokens"))
    if prompt is not None and completion is not None and reasoning:
        completion += reasoning if total == prompt + completion + reasoning else 0
    usage = Usage(
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
        cached_tokens=cached,
        reasoning_tokens=reasoning,
        partial=prompt is None or completion is None,
    )
    return Counted(usage, _changes(said, usage, total or 0))


def _plainly(said: Json) -> Usage | None:
    """The usage where all is said in OpenAI's way: nearly always, so it is looked for first."""
    prompt, completion = said.get("prompt_tokens"), said.get("completion_tokens")
    total = said.get("total_tokens")
    if not (_is_count(prompt) and _is_count(completion) and _is_count(total)):
        return None
    cached = _inside(said, _PROMPT, "cached_tokens")
    reasoning = _inside(said, _COMPLETION, "reasoning_tokens")
    if total != prompt + completion or not (_is_told(cached) and _is_told(reasoning)):
        return None
    if (cached is None or reasoning is None) and not _ELSEWHERE.isdisjoint(said):
        return None
    return Usage(prompt, completion, cached, reasoning)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _is_told(value: object) -> TypeGuard[int | None]:
    return value is None or _is_count(value)


def prompt_counted(said: object) -> Counted:
    """The usage of embeddings, which have a prompt only; the caller is told 0 for unknown."""
    held = said if isinstance(said, dict) else {}
    prompt, total = held.get("prompt_tokens"), held.get("total_tokens")
    if _is_count(prompt) and _is_count(total) and total >= prompt:
        return Counted(Usage(prompt, 0), _NOTHING)
    total = _count(total)
    prompt = _first(prompt, total)
    changes = Inside()
    _put(changes, held, "prompt_tokens", prompt or 0)
    _put(changes, held, "total_tokens", max(total or 0, prompt or 0))
    return Counted(Usage(prompt or 0, 0, partial=prompt is None), changes)


def within(there: object, changes: Inside) -> Inside | Json:
    """`changes` of what may be no object: then they take its place."""
    return (
        changes
        if there is None or isinstance(there, dict)
        else {str(name): count for name, count in changes.items()}
    )


def _changes(said: Json, usage: Usage, total: int) -> Inside:
    changes = Inside()
    told = usage.prompt_tokens + usage.completion_tokens
    _put(changes, said, "prompt_tokens", usage.prompt_tokens)
    _put(changes, said, "completion_tokens", usage.completion_tokens)
    _put(changes, said, "total_tokens", max(total, told))
    for details, name, count in (
        (_PROMPT, "cached_tokens", usage.cached_tokens),
        (_COMPLETION, "reasoning_tokens", usage.reasoning_tokens),
    ):
        held, inside = said.get(details), Inside()
        _put(inside, held if isinstance(held, dict) else {}, name, count)
        if inside:
            changes[details] = within(held, inside)
    return changes


def _put(changes: Inside, said: Json, name: str, count: int | None) -> None:
    there = said.get(name)
    if count is not None and (there != count or not isinstance(there, int)):
        changes[name] = count


def _inside(said: Json, details: str, name: str) -> object:
    held = said.get(details)
    return held.get(name) if isinstance(held, dict) else None


def _first(*counts: object) -> int | None:
    return next((known for count in counts if (known := _count(count)) is not None), None)


def _count(value: object) -> int | None:
    """A number of tokens; some upstreams write 12.0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return int(value)
