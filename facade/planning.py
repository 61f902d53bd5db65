"""Which targets of a plan a request goes to, and in which order. Pure.

    what is demanded         a target that is not allowed is left out
    how soon answers begin   so is one that is known to be too slow
    what the model can do    one that surely lacks it is put aside, if another is left
    how long the prompt is   one whose window is surely too small is left out
    which of equals first    whose model is in memory; then most free slots; then the soonest

What is not known of a target speaks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from adapters.constraints import Constraints
from adapters.errors import Kind, UpstreamError
from facade.config import ModelSettings
from facade.errors import Forbidden
from facade.needs import NONE, Needs
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

    def lacks(self, route: Route, capability: str) -> bool:
        """Whether its model is known not to have it."""

    def window(self, route: Route) -> int | None:
        """The tokens of its model's context."""


def within(plan: Plan, constraints: Constraints) -> Plan:
    """The plan as the constraints leave it. Raises Forbidden where that is nothing."""
    groups = _those(plan.groups or [*zip(plan.routes)], lambda it: _allows(constraints, it))
    if not groups:
        raise unmet(constraints)
    if constraints.prefer_local:
        groups = [*_those(groups, lambda it: it.local), *_those(groups, _is_far)]
    return _regrouped(plan, groups)


def allowed(routes: Iterable[Route], constraints: Constraints) -> list[Route]:
    """Those that the constraints allow, the preferred first."""
    left = [route for route in routes if _allows(constraints, route)]
    return sorted(left, key=_is_far) if constraints.prefer_local else left


def _allows(constraints: Constraints, route: Route) -> bool:
    return not (constraints.force_cloud if route.local else constraints.local_only)


def _is_far(route: Route) -> bool:
    return not route.local


class Wants(Struct, frozen=True):
    """What a request wants of its targets."""

    constraints: Constraints = Constraints()
    lane: Lane = "generation"
    needs: Needs = NONE


Groups = Sequence[Sequence[Route]]


def fitted(plan: Plan, wants: Wants, view: View) -> Plan:
    """The plan as the moment suggests it.

    Raises Forbidden where nothing is fast enough, and UpstreamError where all are too small.
    """
    needs = wants.needs
    groups: Groups = plan.groups or [*zip(plan.routes)]
    if wants.constraints.max_latency_ms is not None:
        groups = _those(groups, lambda it: _in_time(view.latency(it), wants.constraints))
    if needs.capabilities:
        able = _those(groups, lambda it: not any(view.lacks(it, c) for c in needs.capabilities))
        groups = able or groups
    if not groups:
        raise unmet(wants.constraints)
    if needs.tokens:
        groups = _those(groups, lambda it: needs.tokens <= (view.window(it) or needs.tokens))
    if not groups:
        raise UpstreamError(
            Kind.CONTEXT_LENGTH,
            f"the prompt has at least {needs.tokens} tokens: no target of this model has room",
        )
    return _regrouped(plan, [_ranked(group, wants.lane, view) for group in groups])


def _those(groups: Groups, fits: Callable[[Route], bool]) -> Groups:
    """The groups without the others; one in which nothing is left is none."""
    left = [[route for route in group if fits(route)] for group in groups]
    return [group for group in left if group]


def _ranked(group: Sequence[Route], lane: Lane, view: View) -> Sequence[Route]:
    def rank(route: Route) -> tuple[bool, bool, float, float]:
        free = view.free(route, lane)
        return (
            view.failing(route),
            view.loaded(route) is False,
            -math.inf if free is None else -free,
            view.latency(route) or 0.0,
        )

    return sorted(group, key=rank) if len(group) > 1 else group


def _in_time(latency: float | None, constraints: Constraints) -> bool:
    most = constraints.max_latency_ms
    return latency is None or most is None or latency * 1000 <= most


def _regrouped(plan: Plan, groups: Groups) -> Plan:
    return replace(
        plan,
        routes=tuple(route for group in groups for route in group),
        groups=tuple(map(tuple, groups)) if plan.groups else (),
    )


def unmet(constraints: Constraints) -> Forbidden:
    """No target is left."""
    return Forbidden(
        f"this model has no target that {' and '.join(constraints.words)} leaves: nothing was sent",
        code="constraints_unmet",
    )
