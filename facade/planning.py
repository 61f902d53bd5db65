"""Which targets of a plan a request goes to, and in which order. Pure.

    what is demanded         a target that is not allowed is left out
    how soon answers begin   so is one that is known to be too slow
    which of equals first    whose model is in memory; then most free slots; then the soonest

What is not known of a target speaks for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from adapters.constraints import Constraints
from facade.config import ModelSettings
from facade.errors import Forbidden
from facade.turns import Lane


class Route(Struct, frozen=True):
    """An upstream's name, and the model's name there.

    `local`: what is sent there stays with the operator, as far as the configuration and the
    name say.
    """

    upstream: str
    model: str
    local: bool = False


class Plan(Struct, frozen=True):
    """The targets of a model name, in order. `chain`: what an `alias` says of trying them.

    None: an upstream's own name for a model, which is one target, tried once. `groups`: the same
    routes; those in one group are equals, and which of them comes first is yet to be said.
    """

    routes: tuple[Route, ...]
    chain: ModelSettings | None = None
    alias: str = ""  # as it is configured
    groups: tuple[tuple[Route, ...], ...] = ()  # none: each target stands for itself


class View(Protocol):
    """What is known of targets at this moment."""

    def failing(self, route: Route) -> bool:
        """Whether its latest answer was a failure, a moment ago."""

    def loaded(self, route: Route) -> bool | None:
        """Whether its model is in memory; None: it cannot be known."""

    def free(self, route: Route, lane: Lane) -> int | None:
        """How many calls it could begin at once, less those that wait; None: as many as come."""

    def latency(self, route: Route) -> float | None:
        """The seconds in which its answers began, lately."""


def within(plan: Plan, constraints: Constraints) -> Plan:
    """The plan as the constraints leave it. Raises Forbidden where that is nothing."""
    groups = [allowed(group, constraints) for group in plan.groups or zip(plan.routes)]
    if constraints.prefer_local:
        near = [[route for route in group if route.local] for group in groups]
        far = [[route for route in group if not route.local] for group in groups]
        groups = [*near, *far]
    return _regrouped(plan, groups, constraints)


def allowed(routes: Iterable[Route], constraints: Constraints) -> list[Route]:
    """Those that the constraints allow, the preferred first."""
    left = [
        route
        for route in routes
        if not (constraints.local_only and not route.local)
        and not (constraints.force_cloud and route.local)
    ]
    return sorted(left, key=_is_far) if constraints.prefer_local else left


def _is_far(route: Route) -> bool:
    return not route.local


def fitted(plan: Plan, constraints: Constraints, lane: Lane, view: View) -> Plan:
    """The plan as the moment suggests it. Raises Forbidden where nothing is fast enough."""
    groups = [
        [route for route in group if _in_time(view.latency(route), constraints)]
        for group in plan.groups or zip(plan.routes)
    ]

    def rank(route: Route) -> tuple[bool, bool, float, float]:
        free = view.free(route, lane)
        return (
            view.failing(route),
            view.loaded(route) is False,
            -math.inf if free is None else -free,
            view.latency(route) or 0.0,
        )

    return _regrouped(plan, [sorted(group, key=rank) for group in groups], constraints)


def _in_time(latency: float | None, constraints: Constraints) -> bool:
    most = constraints.max_latency_ms
    return latency is None or most is None or latency * 1000 <= most


def _regrouped(plan: Plan, groups: Sequence[Sequence[Route]], constraints: Constraints) -> Plan:
    routes = tuple(route for group in groups for route in group)
    if not routes:
        raise unmet(constraints)
    return replace(
        plan,
        routes=routes,
        groups=tuple(tuple(group) for group in groups if group) if plan.groups else (),
    )


def unmet(constraints: Constraints) -> Forbidden:
    """No target is left."""
    said = [name for name in constraints.__struct_fields__ if getattr(constraints, name)]
    return Forbidden(
        f"this model has no target that {' and '.join(said)} leaves: nothing was sent",
        code="constraints_unmet",
    )
