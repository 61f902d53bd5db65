"""What is known of the targets at this moment, from all who know a part of it."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from adapters.constraints import Constraints
from adapters.dialect import Target
from facade.admission import Admission
from facade.ask import Ask
from facade.breaker import Breakers
from facade.discovery import Discovery
from facade.needs import NONE
from facade.planning import Plan, Route, Wants, fitted
from facade.turns import Lane
from facade.waits import Loop, Wait

_NONE: Final = Constraints()
_PATIENCE: Final = 1.0  # seconds to hear what models can do; what is not heard speaks for them
_HOLDS: Final = 60.0  # seconds without an answer, after which a target may have become faster
_NEWEST: Final = 0.3  # its weight in the average
_MOST_TARGETS: Final = 1000


class Latencies:
    """How soon the answers of targets begin, in seconds: of each a moving average."""

    def __init__(self) -> None:
        self._known: dict[Route, tuple[float, float]] = {}  # the average, and when it was noted

    def note(self, route: Route, took: float, now: float) -> None:
        """Its answer began in time `took`."""
        mean = self.of(route, now)
        mean = took if mean is None else mean + (took - mean) * _NEWEST
        self._known[route] = (mean, now)
        if len(self._known) > _MOST_TARGETS:
            del self._known[next(iter(self._known))]

    def of(self, route: Route, now: float) -> float | None:
        """None: it is not known, or from too long ago."""
        mean, noted = self._known.get(route, (0.0, -_HOLDS))
        return mean if now - noted < _HOLDS else None


class Sight:
    """A View. `measures`: whether somebody needs to know latencies; nobody does at first."""

    def __init__(
        self, discovery: Discovery, queues: Mapping[str, Admission], breakers: Breakers[Route]
    ) -> None:
        self._listings = discovery.listings
        self._queues = queues
        self._breakers = breakers
        self._latencies = Latencies()
        self._now = Loop().time
        self.measures = False

    def fit(self, plan: Plan, ask: Ask) -> Plan | Wait[Plan]:
        """The plan as this moment suggests it; the Wait asks what models can do.

        Raises Forbidden where nothing is fast enough, and UpstreamError where all are too small;
        so does the Wait.
        """
        constraints = ask.constraints or _NONE
        needs = ask.needs() if len(plan.routes) > 1 else NONE
        if not plan.groups and needs is NONE and constraints.max_latency_ms is None:
            return plan
        self.measures = self.measures or bool(plan.groups or constraints.max_latency_ms)
        wants = Wants(constraints, ask.lane, needs)
        unknown = [*self._unknown(plan.routes)] if needs.capabilities else []
        if unknown:
            return asyncio.ensure_future(self._learned(unknown, plan, wants))
        return fitted(plan, wants, self)

    def not_smaller(self, than: Route) -> Callable[[Route], bool]:
        """Whether a target may have room where this one had too little: others count otherwise."""
        too_small = self.window(than) or 0
        return lambda route: (self.window(route) or math.inf) >= too_small

    def stopwatch(self, route: Route) -> Callable[[], None]:
        """Started; to be called when the answer begins."""
        return functools.partial(self._note, route, self._now())

    def _note(self, route: Route, began: float) -> None:
        now = self._now()
        self._latencies.note(route, now - began, now)

    def _unknown(self, routes: Iterable[Route]) -> Iterator[Wait[Target]]:
        """What is to be waited for; nobody waits for targets that are left alone."""
        for route in routes:
            breaker = self._breakers.find(route)
            if breaker is None or breaker.rest(self._now()) is None:
                learning = self._listings[route.upstream].learn(route.model)
                if learning is not None:
                    yield learning

    async def _learned(self, unknown: list[Wait[Target]], plan: Plan, wants: Wants) -> Plan:
        try:
            await asyncio.wait(unknown, timeout=_PATIENCE)
        except asyncio.CancelledError:
            for each in unknown:
                each.cancel()
            raise
        return fitted(plan, wants, self)

    def failing(self, route: Route) -> bool:
        breaker = self._breakers.find(route)
        return breaker is not None and breaker.failing(self._now())

    def loaded(self, route: Route) -> bool | None:
        return self._listings[route.upstream].loaded(route.model)

    def free(self, route: Route, lane: Lane) -> int | None:
        queue = self._queues.get(route.upstream)
        return queue.free(lane) if queue else None

    def latency(self, route: Route) -> float | None:
        return self._latencies.of(route, self._now())

    def lacks(self, route: Route, capability: str) -> bool:
        return self._listings[route.upstream].lacks(route.model, capability)

    def window(self, route: Route) -> int | None:
        return self._listings[route.upstream].window(route.model)
