"""Which targets a model name means. Pure but for the listings, which may have to be asked.

The order: exact alias; wildcard alias; `upstream/model`; the upstream whose listing has it.
A name nobody has makes one refresh; an upstream whose listing fails then is tried, for it alone
knows. One that never lists is tried only where there is no other: a mistyped name must not
carry its prompt to a cloud that had nothing to do with it. Otherwise the name is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from adapters.constraints import Constraints
from adapters.dialect import named_remote
from facade.config import ModelSettings
from facade.discovery import Discovery, named
from facade.errors import Forbidden, NotFound
from facade.planning import Plan, Route, allowed, unmet, within
from facade.waits import Wait

_REMEMBERED: Final = 1000  # names; any may be asked for


class Routing:
    """`aliases` maps a name or a pattern with one `*` to its settings."""

    def __init__(self, aliases: Mapping[str, ModelSettings], discovery: Discovery) -> None:
        self._aliases = aliases
        self._discovery = discovery
        self._plans = {
            name: self._chain(name, it, "") for name, it in aliases.items() if "*" not in name
        }
        self._configured = lru_cache(maxsize=_REMEMBERED)(self._found)

    @property
    def names(self) -> list[str]:
        """The aliases that are names, not patterns."""
        return list(self._plans)

    def plan(self, model: str, constraints: Constraints | None = None) -> Plan | Wait[Plan]:
        """The plan for a model name. Raises NotFound and Forbidden, also through the Wait."""
        plan = self.known(model, constraints)
        if plan:
            return plan
        return asyncio.ensure_future(self._after_refresh(model, constraints))

    def serves(self, model: str, constraints: Constraints) -> bool:
        """Whether the name has a target that the constraints allow, as far as is known."""
        try:
            return self.known(model, constraints) is not None
        except Forbidden:
            return False

    def known(self, model: str, constraints: Constraints | None) -> Plan | None:
        """The plan, without asking anybody; None: no alias and no listing has the name."""
        plan = self._configured(model)
        if plan is None:
            return self._listed(model, constraints)
        return within(plan, constraints) if constraints else plan

    def _found(self, model: str) -> Plan | None:
        """What the configuration alone says, which never changes."""
        exactly = named(self._plans, model)
        if exactly:
            return exactly
        for pattern, alias in self._aliases.items():
            for same in (model, model.removesuffix(":latest")):
                matched = _matched(pattern, same)
                if matched is not None:
                    return self._chain(pattern, alias, matched)
        first, slash, rest = model.partition("/")
        known = slash and rest and first in self._discovery.listings
        return Plan((self._route(first, rest),)) if known else None

    def _listed(
        self, model: str, constraints: Constraints | None, *, asked: bool = False
    ) -> Plan | None:
        """The first upstream that has it, of those that the constraints allow.

        None too where one before it may have it, as it was never asked (`asked`: all the same).
        """
        local_only = constraints is not None and constraints.local_only
        routes: list[Route] = []
        for name, listing in self._discovery.listings.items():
            found = listing.find(model)
            if found:
                routes.append(self._route(name, model, remote=found.facts.remote))
            elif not (asked or routes or listing.heard or (local_only and not listing.local)):
                return None
        if constraints:
            routes = allowed(routes, constraints)
        return Plan((routes[0],)) if routes else None

    async def _after_refresh(self, model: str, constraints: Constraints | None) -> Plan:
        local_only = constraints is not None and constraints.local_only
        refreshing = self._discovery.refresh(local_only=local_only)
        if refreshing:
            await refreshing
        plan = self._listed(model, constraints, asked=True)
        if plan:
            return plan
        listings = self._discovery.listings
        silent = [
            self._route(name, model)
            for name, listing in listings.items()
            if listing.error or (len(listings) == 1 and not listing.lists)
        ]
        routes = allowed(silent, constraints) if constraints else silent
        if routes:
            return Plan((routes[0],))
        if constraints and (silent or self._listed(model, None, asked=True)):
            raise unmet(constraints)
        raise self.unknown(model)

    def _chain(self, name: str, alias: ModelSettings, matched: str) -> Plan:
        groups = tuple(
            tuple(self._target(target, matched) for target in group) for group in alias.groups
        )
        routes = tuple(route for group in groups for route in group)
        return Plan(routes, alias, name, groups if len(routes) > len(groups) else ())

    def _target(self, target: str, matched: str) -> Route:
        upstream, _, model = target.partition("/")
        return self._route(upstream, model.replace("*", matched))

    def _route(self, upstream: str, model: str, *, remote: bool | None = None) -> Route:
        listing = self._discovery.listings[upstream]
        return Route(upstream, model, listing.local and not remote and not named_remote(model))

    def unknown(self, model: str) -> NotFound:
        """Nobody has this model, as far as anybody says which there are."""
        silent = [name for name, it in self._discovery.listings.items() if not it.lists]
        names = " or ".join(f"'{name}/NAME'" for name in silent)
        where = f"; others are asked for as {names}, or by an alias in [models]" if names else ""
        return NotFound(
            f"the model '{model}' does not exist: GET /v1/models lists those there are{where}",
            param="model",
            code="model_not_found",
        )


def _matched(pattern: str, model: str) -> str | None:
    """What the pattern's `*` stands for in this name; None if they do not match."""
    before, star, after = pattern.partition("*")
    if not star or len(model) < len(before) + len(after):
        return None
    if not (model.startswith(before) and model.endswith(after)):
        return None
    return model[len(before) : len(model) - len(after)]
