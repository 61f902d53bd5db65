"""Token counts as OpenAI writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adapters.wire import Usage


def usage_json(usage: Usage) -> dict[str, object]:
    """The `usage` object. Details stand in it only where the upstream told them."""
    counts: dict[str, object] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.cached_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens is not None:
        counts["completion_tokens_details"] = {
            "reasoning_tokens": usage.reasoning_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    return counts


def total(usages: Sequence[Usage]) -> Usage | None:
    """The usage of several calls: completions add up.

    Calls of one prompt (`n`) were all sent it, but it counts once, as at OpenAI: whoever
    sums different prompts gives each its own sum first.
    """
    if len(usages) < 2:
        return usages[0] if usages else None
    return Usage(
        prompt_tokens=max(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=usages[0].cached_tokens,
        reasoning_tokens=_sum(usage.reasoning_tokens for usage in usages),
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
