"""Which targets a model name means. Pure but for the listings, which may have to be asked.

The order: exact alias; wildcard alias; `upstream/model`; the upstream whose listing has it.
A name nobody has makes one refresh; an upstream whose listing fails then is tried, for it alone
knows. One that never lists is tried only where there is no other: a mistyped name must not
carry its prompt to a cloud that had nothing to do with it. Otherwise the name is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from msgspec import Struct

from facade.config import ModelSettings
from facade.discovery import Discovery, named
from facade.errors import NotFound
from facade.waits import Wait


class Route(Struct, frozen=True):
    """An upstream's name, and the model's name there."""

    upstream: str
    model: str


class Plan(Struct, frozen=True):
    """The targets of a model name, in order. `chain`: what an `alias` says of trying them.

    None: an upstream's own name for a model, which is one target, tried once.
    """

    routes: tuple[Route, ...]
    chain: ModelSettings | None = None
    alias: str = ""  # as it is configured


class Routing:
    """`aliases` maps a name or a pattern with one `*` to its settings."""

    def __init__(self, aliases: Mapping[str, ModelSettings], discovery: Discovery) -> None:
        self._aliases = aliases
        self._discovery = discovery
        self._plans = {name: _plan(name, it, "") for name, it in aliases.items() if "*" not in name}

    @property
    def names(self) -> list[str]:
        """The aliases that are names, not patterns."""
        return list(self._plans)

    def plan(self, model: str) -> Plan | Wait[Plan]:
        """The plan for a model name; raises NotFound (also through the Wait)."""
        plan = self._configured(model) or self._listed(model)
        if plan:
            return plan
        return asyncio.ensure_future(self._after_refresh(model))

    def _configured(self, model: str) -> Plan | None:
        exactly = named(self._plans, model)
        if exactly:
            return exactly
        for pattern, alias in self._aliases.items():
            matched = _matched(pattern, model)
            if matched is not None:
                return _plan(pattern, alias, matched)
        first, slash, rest = model.partition("/")
        known = slash and rest and first in self._discovery.listings
        return Plan((Route(first, rest),)) if known else None

    def _listed(self, model: str) -> Plan | None:
        for name, listing in self._discovery.listings.items():
            if listing.find(model):
                return Plan((Route(name, model),))
        return None

    async def _after_refresh(self, model: str) -> Plan:
        refreshing = self._discovery.refresh()
        if refreshing:
            await refreshing
        plan = self._listed(model)
        if plan:
            return plan
        listings = self._discovery.listings
        for name, listing in listings.items():
            if listing.error or (len(listings) == 1 and not listing.lists):
                return Plan((Route(name, model),))
        raise self.unknown(model)

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


def _plan(name: str, alias: ModelSettings, matched: str) -> Plan:
    return Plan(tuple(_route(target, matched) for target in alias.targets), alias, name)


def _route(target: str, matched: str) -> Route:
    upstream, _, model = target.partition("/")
    return Route(upstream, model.replace("*", matched))


def _matched(pattern: str, model: str) -> str | None:
    """What the pattern's `*` stands for in this name; None if they do not match."""
    before, star, after = pattern.partition("*")
    if not star or len(model) < len(before) + len(after):
        return None
    if not (model.startswith(before) and model.endswith(after)):
        return None
    return model[len(before) : len(model) - len(after)]
