"""Which target a model name means. Pure but for the listings, which may have to be asked.

The order: exact alias; wildcard alias; `upstream/model`; the upstream whose listing has it.
A name nobody has makes one refresh; an upstream whose listing fails then is tried, for it alone
knows. One that never lists is tried only where there is no other: a mistyped name must not
carry its prompt to a cloud that had nothing to do with it. Otherwise the name is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from msgspec import Struct

from facade.discovery import Discovery, named
from facade.errors import NotFound
from facade.waits import Wait


class Route(Struct, frozen=True):
    """An upstream's name, and the model's name there."""

    upstream: str
    model: str


class Routing:
    """`aliases` maps a name or a pattern with one `*` to targets (`upstream/model`)."""

    def __init__(self, aliases: Mapping[str, Sequence[str]], discovery: Discovery) -> None:
        self._aliases = aliases
        self._discovery = discovery

    @property
    def names(self) -> list[str]:
        """The aliases that are names, not patterns."""
        return [name for name in self._aliases if "*" not in name]

    def plan(self, model: str) -> Route | Wait[Route]:
        """The route for a model name; raises NotFound (also through the Wait)."""
        route = self._configured(model) or self._listed(model)
        if route:
            return route
        return asyncio.ensure_future(self._after_refresh(model))

    def _configured(self, model: str) -> Route | None:
        exactly = named(self._aliases, model)
        if exactly and "*" not in model:
            return _route(exactly[0], "")
        for pattern, targets in self._aliases.items():
            matched = _matched(pattern, model)
            if matched is not None:
                return _route(targets[0], matched)
        first, slash, rest = model.partition("/")
        return Route(first, rest) if slash and rest and first in self._discovery.listings else None

    def _listed(self, model: str) -> Route | None:
        for name, listing in self._discovery.listings.items():
            if listing.find(model):
                return Route(name, model)
        return None

    async def _after_refresh(self, model: str) -> Route:
        refreshing = self._discovery.refresh()
        if refreshing:
            await refreshing
        route = self._listed(model)
        if route:
            return route
        listings = self._discovery.listings
        for name, listing in listings.items():
            if listing.error or (len(listings) == 1 and not listing.lists):
                return Route(name, model)
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
