"""What each upstream has: its models, what they can do, its version. Never by generating.

Listings are fetched by one request at a time per upstream (single flight), at most once a
second, and kept until the next one succeeds. Facts of a model are asked when a request
needs them, and kept by the model's digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Mapping
from typing import Final, TypeVar, cast

import msgspec
from msgspec.structs import replace

from adapters.dialect import (
    DescribesModels,
    Facts,
    ListsLoaded,
    ListsModels,
    Model,
    Target,
    TellsVersion,
    named_remote,
)
from adapters.errors import Kind, UpstreamError
from facade.upstreams import Upstream
from facade.waits import Askings, Wait, result_of

T = TypeVar("T")
_log = logging.getLogger(__name__)
_REFRESH_AT_MOST_EVERY: Final = 1.0  # seconds
_MOST_TARGETS: Final = 1000
_PATIENCE: Final = 3.0  # seconds that a request waits for facts which it can do without
_UNSAID: Final = 10.0  # seconds before it is asked again what could not be
_FACTS_HOLD: Final = 300.0  # seconds, for a model whose digest no listing tells


class Listing:
    """What is known of one upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        dialect = upstream.dialect
        self.describes = dialect if isinstance(dialect, DescribesModels) else None
        self._loads = dialect if isinstance(dialect, ListsLoaded) else None
        self._models: dict[str, Model] = {}
        self._version: tuple[int, ...] | None = None
        self._targets: dict[str, Target] = {}  # as the latest refresh makes them
        self._facts: dict[str, tuple[float, Facts]] = {}  # by model, with when it was asked
        self._unsaid: dict[str, float] = {}  # the models whose facts could not be asked, and when
        self._asking = Askings[Facts]()
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at: float | None = None
        self.error: UpstreamError | None = None  # of the last refresh
        self.state = "unknown"  # then "up" or "down", by the last refresh

    @property
    def models(self) -> list[Model]:
        return list(self._models.values())

    @property
    def local(self) -> bool:
        """Whether what is sent to the upstream itself stays with the operator."""
        return self._upstream.traits.local

    @property
    def lists(self) -> bool:
        """Whether the upstream can say at all which models it has."""
        return isinstance(self._upstream.dialect, ListsModels)

    @property
    def heard(self) -> bool:
        """Whether it has been asked for its models, if it lists any."""
        return self._refreshed_at is not None or not self.lists

    @property
    def hangs(self) -> bool:
        """Whether it gave no listing in time when it was last asked."""
        return self.error is not None and self.error.kind is Kind.TIMEOUT

    def loaded(self, model: str) -> bool | None:
        """Whether the model was in memory lately; None: it cannot be known."""
        loaded = self._upstream.loaded()
        if loaded is None or named_remote(model) or self._known_target(model).facts.remote:
            return None
        return named(loaded, model) is not None

    def window(self, model: str) -> int | None:
        """The tokens that the model's context has: as configured, as loaded, or as listed."""
        target = self._known_target(model)
        if self._loads is None:
            return target.facts.window
        configured = self._loads.window(target.options)
        if configured is not None:
            return configured
        loaded = named(self._upstream.loaded() or {}, model)
        return loaded.window if loaded else None

    def lacks(self, model: str, capability: str) -> bool:
        """Whether it is known that the model cannot do this."""
        target = self._known_target(model)
        known = target.facts.capabilities
        if known is None and (facts := self._remembered(target, for_good=True)):
            known = facts.capabilities
        return known is not None and capability not in known

    def learn(self, model: str) -> Wait[Target] | None:
        """A Wait until it is known what the model can do; None: nothing more is to be known now."""
        if asyncio.get_running_loop().time() - self._unsaid.get(model, -_UNSAID) < _UNSAID:
            return None
        target = self.target(model, describe=True)
        return None if isinstance(target, Target) else target

    def _known_target(self, model: str) -> Target:
        return self._targets.get(model) or self._make_target(model)

    def find(self, name: str) -> Model | None:
        """The model of that name, or of the one that means the same."""
        return named(self._models, name)

    def refresh(self) -> Wait[None] | None:
        """None if the listing is fresh, else a Wait for the one refresh under way."""
        if self._refreshing is not None:
            return self._refreshing
        now = asyncio.get_running_loop().time()
        if self._refreshed_at is not None and now - self._refreshed_at < _REFRESH_AT_MOST_EVERY:
            return None
        self._refreshing = asyncio.create_task(self._refresh())
        return self._refreshing

    def target(
        self, model: str, *, describe: bool, local_only: bool = False
    ) -> Target | Wait[Target]:
        """The target, with the model's facts if `describe`; a Wait where they must be asked.

        Raises UpstreamError, also by the Wait, for one that is `local_only` and need not be local.
        """
        stays = self.stays(model) if local_only else True
        if stays is not True:
            return asyncio.ensure_future(self._confined(model, stays, describe=describe))
        target = self._known_target(model)
        if not describe or self.describes is None or target.facts.capabilities is not None:
            return target
        facts = self._remembered(target, for_good=True)
        return replace(target, facts=facts) if facts else asyncio.ensure_future(self._told(target))

    def stays(self, model: str) -> bool | Wait[bool]:
        """Whether what is sent to the model stays with the operator; the Wait asks the upstream.

        A listing may be old and a name may come to mean another model, so its facts are asked.
        Raises UpstreamError where they cannot be.
        """
        target = self._known_target(model)
        if not self.local or named_remote(model) or target.facts.remote:
            return False
        if self.describes is None:
            return True
        facts = self._remembered(target, for_good=False)
        if facts is None:
            return asyncio.ensure_future(self._asked_stays(target))
        return facts.remote is False

    def _make_target(self, model: str) -> Target:
        traits = self._upstream.traits
        listed = self.find(model)
        options = {**traits.options, **(named(traits.model_options, model) or {})}
        target = Target(
            upstream=self._upstream.name,
            model=model,
            options=options,
            keep_alive=traits.keep_alive,
            facts=listed.facts if listed else Facts(),
            version=self._version,
        )
        target = replace(target, fingerprint=_fingerprint(target))
        if len(self._targets) >= _MOST_TARGETS:  # names are the callers', and any may be asked
            self._targets.clear()
        self._targets[model] = target
        return target

    def close(self) -> None:
        """End what is under way."""
        self._asking.close()
        if self._refreshing is not None:
            self._refreshing.cancel()

    def _remembered(self, target: Target, *, for_good: bool) -> Facts | None:
        """What was said of the model; of the same bytes it holds `for_good`."""
        asked_at, facts = self._facts.get(target.model, (-math.inf, Facts()))
        if facts.digest not in (None, target.facts.digest):
            return None
        lasting = for_good and facts.digest is not None
        now = asyncio.get_running_loop().time()
        return facts if lasting or now - asked_at <= _FACTS_HOLD else None

    async def _confined(self, model: str, stays: bool | Wait[bool], *, describe: bool) -> Target:
        if not await result_of(stays):
            raise UpstreamError(Kind.CONFINED, f"'{model}' is not known to be local")
        return await result_of(self.target(model, describe=describe))

    async def _told(self, target: Target) -> Target:
        try:
            async with asyncio.timeout(_PATIENCE):
                return replace(target, facts=await self._facts_of(target))
        except (UpstreamError, TimeoutError) as error:  # unknown is allowed: it will say it itself
            _log.warning("%s: no facts of a model: %s", target.upstream, str(error) or "late")
            if len(self._unsaid) >= _MOST_TARGETS:
                self._unsaid.clear()
            self._unsaid[target.model] = asyncio.get_running_loop().time()
            return target

    async def _asked_stays(self, target: Target) -> bool:
        return (await self._facts_of(target)).remote is False

    async def _facts_of(self, target: Target) -> Facts:
        return await self._asking.answer(target.model, lambda: self._ask_facts(target))

    async def _ask_facts(self, target: Target) -> Facts:
        describes = cast(DescribesModels, self.describes)
        body = await self._upstream.ask(describes.describe_request(target.model))
        facts = replace(describes.decode_facts(body), digest=target.facts.digest)
        if len(self._facts) >= _MOST_TARGETS:
            self._facts.clear()
        self._facts[target.model] = (asyncio.get_running_loop().time(), facts)
        return facts

    async def _refresh(self) -> None:
        dialect = self._upstream.dialect
        try:
            if isinstance(dialect, ListsModels):
                models = dialect.decode_models(await self._upstream.ask(dialect.list_request()))
                self._models = {model.id: model for model in models}
            self.error = None
            if isinstance(dialect, TellsVersion):
                body = await self._upstream.ask(dialect.version_request())
                self._version = dialect.decode_version(body)
            self.state = "up"
        except UpstreamError as error:
            self.error = error
            self.state = "down"
            _log.warning("%s: the models cannot be listed: %s", self._upstream.name, error)
        finally:
            self._targets.clear()
            self._refreshed_at = asyncio.get_running_loop().time()
            self._refreshing = None


class Discovery:
    """The listings of all upstreams, in the order of the configuration.

    `local_only`: no caller may reach the others, so they are not even listed.
    """

    def __init__(self, upstreams: Mapping[str, Upstream], *, local_only: bool = False) -> None:
        self._local_only = local_only
        self.listings = {name: Listing(upstream) for name, upstream in upstreams.items()}

    def refresh(self, *, local_only: bool = False) -> Wait[None] | None:
        """A Wait until each listing was asked again (of local upstreams); None: all are fresh.

        One that hangs is asked too, but nobody waits for it again.
        """
        listings = [
            it for it in self.listings.values() if it.local or not (local_only or self._local_only)
        ]
        waits = [wait for it in listings if (wait := it.refresh()) and not it.hangs]
        # One caller that gives up must not end the refresh the others wait for.
        return (
            asyncio.ensure_future(_all([asyncio.shield(wait) for wait in waits])) if waits else None
        )

    def close(self) -> None:
        for listing in self.listings.values():
            listing.close()


async def _all(waits: list[Wait[None]]) -> None:
    for wait in waits:
        await wait


def named(models: Mapping[str, T], name: str) -> T | None:
    """What stands under the name; `x` is `x:latest`."""
    for same in (name, f"{name}:latest", name.removesuffix(":latest")):
        if same in models:
            return models[same]
    return None


def _fingerprint(target: Target) -> str:
    """The same for the same model with the same settings, as far as they are known."""
    known = (target.upstream, target.model, target.facts.digest, target.version, target.options)
    return "fp_" + hashlib.sha256(msgspec.json.encode(known)).hexdigest()[:10]
