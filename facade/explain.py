"""`facade explain`: what a name means, and what becomes of a request whose targets fail.

The plan is routing's own, the way along it that of facade.attempts, and a fault is read by the
upstream's own dialect. Nothing is asked of anybody; time passes only where it would be waited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from adapters.dialect import Dialect
from adapters.errors import Kind, UpstreamError
from facade.app import upstreams_of
from facade.attempts import Course
from facade.auth import ANYBODY, may
from facade.breaker import Breakers
from facade.config import ConfigError, Settings, UpstreamSettings
from facade.discovery import Discovery
from facade.errors import STATUSES, FacadeError, Forbidden, NotFound, told
from facade.keys import caller_of
from facade.planning import Plan, Route
from facade.routing import Routing

_KINDS: Final = {
    kind.value: kind for kind, row in STATUSES.items() if row.status and kind is not Kind.CONFINED
}
_FAULT: Final = re.compile(r"(?P<status>[45][0-9][0-9])(:(?P<wait>[0-9]+))?")
_SHOWN: Final = ("retry-after", "x-should-retry")
_JITTER: Final = 1.0  # so that the waits are the longest


class Fault(Struct, frozen=True):
    """What an upstream does, as it is written: a status, or a kind that has none of its own."""

    text: str

    def error(self, dialect: Dialect) -> UpstreamError:
        """As the dialect reads it."""
        found = _FAULT.fullmatch(self.text)
        if found is None:
            return UpstreamError(_KINDS[self.text], "as simulated")
        headers = {"retry-after": found["wait"]} if found["wait"] else {}
        return dialect.decode_error(int(found["status"]), headers, b"")


def faults_of(text: str, upstreams: Mapping[str, object]) -> dict[str, Fault]:
    """`local=503,cloud=429:20`, by upstream. Raises ConfigError."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, fault = part.partition("=")
        if not equals:
            raise ConfigError(f"--simulate: {part!r} is not of the form upstream=fault")
        if name not in upstreams:
            names = ", ".join(upstreams)
            raise ConfigError(f"--simulate: no upstream is called {name!r}; there are: {names}")
        if fault not in _KINDS and not _FAULT.fullmatch(fault):
            raise ConfigError(
                f"--simulate: {fault!r} is no fault; there are: a status from 400 to 599 "
                f"(429:20 with a Retry-After), {', '.join(_KINDS)}"
            )
        found[name] = Fault(fault)
    return found


class Explanation:
    """Of one configuration, for the key of that name (None: without one). Raises ConfigError."""

    def __init__(self, settings: Settings, key: str | None) -> None:
        if key is not None and key not in settings.keys:
            names = ", ".join(settings.keys) or "none"
            raise ConfigError(f"--key: no key is called {key!r}; there are: {names}")
        self._settings = settings
        self._upstreams = upstreams_of(settings)
        self._routing = Routing(settings.models, Discovery(self._upstreams))
        self._key = settings.keys[key] if key else None
        self._caller = caller_of(key, self._key) if key and self._key else ANYBODY

    def lines(self, model: str, faults: Mapping[str, Fault]) -> Iterator[str]:
        """The plan for a model, and what would happen."""
        yield from self._asked(model)
        plan = self._plan(model)
        if isinstance(plan, FacadeError):
            yield from _told(plan)
        elif plan is None:
            names = ", then ".join(self._upstreams)
            yield f"No alias means it, and it names no upstream: the first that lists it: {names}"
        else:
            yield from self._planned(plan)
            yield from self._simulated(plan, faults)

    def _asked(self, model: str) -> Iterator[str]:
        caller, key = self._caller, self._key
        yield f"{model}, asked " + (f"by {caller.name}, {caller.band}" if key else "without a key")
        if key and key.limits:
            yield f"  the key: at most {', '.join(key.limits)}"
        if self._settings.server.ip_limits:
            yield f"  each address: at most {', '.join(self._settings.server.ip_limits)}"
        if caller.constraints:
            yield f"  {', '.join(caller.constraints.words)}"

    def _plan(self, model: str) -> Plan | FacadeError | None:
        if not may(self._caller, model, self._upstreams):
            return NotFound("not one of the key's models", code="model_not_found")
        try:
            return self._routing.known(model, self._caller.constraints)
        except Forbidden as error:
            return error

    def _planned(self, plan: Plan) -> Iterator[str]:
        chain = plan.chain
        deadline = f"{self._settings.server.deadline:g} s in all"
        if chain is None:
            yield f"  one upstream's own name: asked once, {deadline}"
        else:
            yield (
                f"  the alias {plan.alias}: {chain.retries} retries, commit {chain.commit}, "
                f"busy {chain.busy}, cold {chain.cold}, {deadline}"
            )
            if chain.limits:
                yield f"  the alias: at most {', '.join(chain.limits)}"
        for group in plan.groups:
            if len(group) > 1:
                yield f"  equals, by what is loaded, free and fast: {', '.join(map(_name, group))}"
        for number, route in enumerate(plan.routes, 1):
            yield f"{number}. {_name(route)}"
            yield from _target(self._settings.upstreams[route.upstream])

    def _simulated(self, plan: Plan, faults: Mapping[str, Fault]) -> Iterator[str]:
        said = ", ".join(f"{name} {fault.text}" for name, fault in faults.items())
        yield f"If {said}:" if said else "If all is well:"
        if plan.chain is not None:
            until = self._settings.server.deadline
            course = Course(plan.routes, plan.chain.retries, Breakers(), until)
            yield from self._along(course, faults)
            return
        (route,) = plan.routes
        fault = faults.get(route.upstream)
        yield _attempt(0.0, 1, route, fault)
        if fault is not None:
            yield from _told(self._error(route, fault))

    def _along(self, course: Course, faults: Mapping[str, Fault]) -> Iterator[str]:
        now = 0.0
        while (route := course.target(now)) is not None:
            fault = faults.get(route.upstream)
            yield _attempt(now, course.number, route, fault)
            if fault is None:
                if course.reason:
                    yield f"    x-facade-fallback: {course.reason}"
                return
            error = self._error(route, fault)
            if error.kind is Kind.TIMEOUT:
                now += self._settings.upstreams[route.upstream].timeouts.first_token
            wait = course.failed(error, now, _JITTER)
            if wait is None:
                yield from _told(error)
                return
            if wait:
                yield f"    asked again, {wait:g} s later at most"
            now += wait
        yield from _told(course.told())

    def _error(self, route: Route, fault: Fault) -> UpstreamError:
        return fault.error(self._upstreams[route.upstream].dialect)


def _target(upstream: UpstreamSettings) -> Iterator[str]:
    place = "local" if upstream.local else "not local"
    yield f"    {upstream.vendor or upstream.dialect} at {upstream.address}, {place}"
    yield f"    clocks: {upstream.timeouts}"
    if upstream.slots is not None:
        yield f"    {upstream.slots} at a time, {upstream.queue} may wait"
    if upstream.limits:
        yield f"    at most {', '.join(upstream.limits)}"


def _attempt(now: float, number: int, route: Route, fault: Fault | None) -> str:
    said = f"fails ({fault.text})" if fault else "answers"
    return f"  {now:g} s, attempt {number}: {_name(route)} {said}"


def _name(route: Route) -> str:
    return f"{route.upstream}/{route.model}"


def _told(error: Exception) -> Iterator[str]:
    failure = told(error)
    yield f"  The client is told {failure.status} {failure.code or ''}".rstrip()
    headers = failure.headers()
    yield from (f"    {name}: {headers[name]}" for name in _SHOWN if name in headers)
