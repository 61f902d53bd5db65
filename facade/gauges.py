"""What is so at the moment, asked whenever the metrics are told, and never by a request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from facade.admission import Admission
from facade.breaker import Breakers
from facade.limits.charges import Limits
from facade.limits.memory import MemoryStore
from facade.line import LaneState
from facade.metrics import Family
from facade.planning import Route


def of_the_facade() -> Iterator[Family]:
    """Which one it is, and what runs in it."""
    yield Family("facade_info", "gauge", "The version.", [({"version": version("facade")}, 1)])
    tasks = len(asyncio.all_tasks())
    yield Family("facade_tasks", "gauge", "Tasks of the event loop.", [({}, tasks)])


def of_breakers(breakers: Breakers[Route], now: float) -> Iterator[Family]:
    """Who is left alone, for how long; `now` by the loop's time."""
    yield Family(
        "facade_target_rest_seconds",
        "gauge",
        "For how long a target is not asked, after failures or because of its rate limit.",
        [
            (
                {
                    "upstream": route.upstream,
                    "model": route.model,
                    "reason": "rate_limited" if rest.limited else "breaker_open",
                },
                rest.seconds,
            )
            for route, rest in breakers.resting(now)
        ],
    )


def of_limits(limits: Limits | None) -> Iterator[Family]:
    """How full the buckets are that this process keeps; an address has no name here."""
    if limits is None or not isinstance(store := limits.store, MemoryStore):
        return
    buckets = [
        bucket for scope in limits.named.values() for each in scope.values() for bucket in each
    ]
    yield Family(
        "facade_limit_used_ratio",
        "gauge",
        "How much of a limit is used: 1 lets nobody through, more is debt.",
        [
            (
                {"scope": bucket.scope, "name": bucket.name, "limit": bucket.limit.text},
                store.share(bucket),
            )
            for bucket in buckets
        ],
    )


def of_queues(queues: Mapping[str, Admission]) -> Iterator[Family]:
    """Slots and who waits for them."""
    said = [
        ({"upstream": upstream, "lane": lane}, state)
        for upstream, queue in queues.items()
        for lane, state in queue.snapshot().items()
    ]
    yield Family(
        "facade_slots",
        "gauge",
        "How many calls may run.",
        [(labels, state.slots) for labels, state in said if state.slots is not None],
    )
    yield Family(
        "facade_slots_in_use",
        "gauge",
        "How many calls run.",
        [(labels, state.in_use) for labels, state in said],
    )
    bands = [
        ({**labels, "priority": band}, waits)
        for labels, state in said
        for band, waits in state.bands.items()
    ]
    yield Family(
        "facade_queue_waiting",
        "gauge",
        "How many calls wait for a slot.",
        [(labels, waits.waiting) for labels, waits in bands],
    )
    yield Family(
        "facade_queue_oldest_seconds",
        "gauge",
        "How long the first of them has waited.",
        [(labels, waits.oldest_seconds) for labels, waits in bands],
    )
    yield Family(
        "facade_queue_left_total",
        "counter",
        "How each call has left the queue, or did not enter it.",
        [
            ({**labels, "outcome": outcome}, count)
            for labels, state in said
            for outcome, count in _outcomes(state).items()
        ],
    )


def _outcomes(state: LaneState) -> dict[str, int]:
    return {
        "granted": state.granted,
        "busy": state.busy,
        "full": state.full,
        "waited_out": state.waited_out,
        "removed": state.removed,
        "cancelled": state.cancelled,
    }
