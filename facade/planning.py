"""Which of a plan's targets a request may go to, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from adapters.constraints import Constraints
from facade.config import ModelSettings
from facade.errors import Forbidden


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

    None: an upstream's own name for a model, which is one target, tried once.
    """

    routes: tuple[Route, ...]
    chain: ModelSettings | None = None
    alias: str = ""  # as it is configured


def allowed(routes: Sequence[Route], constraints: Constraints) -> list[Route]:
    """Those that the constraints allow, in the order that they prefer."""
    left = [
        route
        for route in routes
        if not (constraints.local_only and not route.local)
        and not (constraints.force_cloud and route.local)
    ]
    return sorted(left, key=_is_far) if constraints.prefer_local else left


def _is_far(route: Route) -> bool:
    return not route.local


def within(plan: Plan, constraints: Constraints) -> Plan:
    """The plan as the constraints leave it. Raises Forbidden where that is nothing."""
    routes = allowed(plan.routes, constraints)
    if not routes:
        raise unmet(constraints)
    return replace(plan, routes=tuple(routes))


def unmet(constraints: Constraints) -> Forbidden:
    """No target is allowed."""
    said = {"local_only": constraints.local_only, "force_cloud": constraints.force_cloud}
    names = " and ".join(name for name, so in said.items() if so)
    return Forbidden(
        f"this model has no target that {names} allows: nothing was sent",
        code="constraints_unmet",
    )
