"""What happens to a request, in order. Read this first.

    plan the chain, take the caller's buckets
    -> know the target -> encode -> slot -> open (first content) -> stream or whole -> settle
       ^                                                          |
       +-------- the same target again, or the next one ----------+ (attempts.py)

A stage returns its result or a Wait. What is taken stands on a Held, whose releases
are synchronous. Nothing is written before the first content is in hand: until then a
failure keeps its own status, and another attempt may still answer.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine, Mapping, Sequence

from msgspec import Struct

from adapters.dialect import Target
from adapters.errors import InvalidRequest, Kind, UpstreamError
from facade.admission import Admission
from facade.ask import Ask, Attempt, Identity
from facade.attempts import Course
from facade.breaker import Breakers
from facade.config import ModelSettings
from facade.discovery import Discovery
from facade.errors import NoSlot, RateLimited, name_input
from facade.held import Held
from facade.limits.charges import Limits
from facade.listening import ServerSettings
from facade.metrics import Metrics
from facade.planning import Plan, Route
from facade.relay import Asked, answered_by
from facade.routing import Routing
from facade.sight import Sight
from facade.slots import sets_out
from facade.upstreams import Upstream
from facade.waits import Loop, Wait, next_stage
from facade.warming import Warming
from facade.wire.answer import AnswerWriter, forget, warn
from facade.wire.held_back import HeldBack
from facade.wire.kept_alive import Silences

_log = logging.getLogger(__name__)


class Policy(Struct, frozen=True):
    """`server` says how long a request may take, and be silent; `queues` are those of the upstreams
    that have slots; `limits` None: nothing is limited; `warming` of those that can load a model.
    """

    server: ServerSettings
    queues: Mapping[str, Admission]
    metrics: Metrics
    limits: Limits | None = None
    warming: Mapping[str, Warming] = {}


class Pipeline:
    """What all requests share."""

    def __init__(
        self,
        routing: Routing,
        discovery: Discovery,
        upstreams: Mapping[str, Upstream],
        policy: Policy,
    ) -> None:
        self._loop = Loop()
        self._routing = routing
        self._discovery = discovery
        self._upstreams = upstreams
        self._deadline = policy.server.deadline
        self._silences = Silences(policy.server.keep_alive_comments)
        self._queues = policy.queues
        self._limits = policy.limits
        self._warming = policy.warming
        self._metrics = policy.metrics
        self.breakers = Breakers[Route]()
        self._sight = Sight(discovery, policy.queues, self.breakers)

    async def run(self, ask: Ask, identity: Identity, answer: AnswerWriter) -> None:
        """Answer one request. Raises FacadeError, InvalidRequest or UpstreamError."""
        meter = self._metrics.begin(ask.input, ask.model)
        until = self._loop.time() + self._deadline
        attempt = Attempt(ask, identity, answer, until, meter, patience=ask.patience)
        try:
            planned = self._routing.plan(ask.model, ask.constraints)
            plan = planned if isinstance(planned, Plan) else await planned
            if len(plan.routes) > 1 or ask.constraints is not None:
                fitted = self._sight.fit(plan, ask)
                plan = fitted if isinstance(fitted, Plan) else await fitted
            if self._limits is None:
                await self._answered(plan, attempt)
            else:
                await self._charged(self._limits, plan, attempt)
        except BaseException as error:
            if isinstance(error, UpstreamError):
                name_input(error, ask.input)
            self._metrics.failed(attempt.meter, error)
            raise
        self._metrics.answered(attempt.meter)

    async def _charged(self, limits: Limits, plan: Plan, attempt: Attempt) -> None:
        """Answered, once all buckets of the caller have room; whatever becomes of it is counted."""
        ask = attempt.ask
        charge = attempt.charge = limits.charge(ask.model, ask.size, attempt.answer.headers)
        try:
            await charge.take(limits.of_caller(ask.caller.name, ask.address, plan.alias))
            await next_stage()
            await self._answered(plan, attempt)
        except BaseException as error:
            left = isinstance(error, asyncio.CancelledError)
            charge.leave(given=left or attempt.answer.started)
            raise

    def _answered(self, plan: Plan, attempt: Attempt) -> Coroutine[object, object, None]:
        answered = (
            self._attempt(plan.routes[0], attempt)
            if plan.chain is None
            else self._along(plan.routes, plan.chain, attempt)
        )
        return self._kept_alive(answered, attempt) if attempt.ask.streamed else answered

    async def _kept_alive(
        self, answered: Coroutine[object, object, None], attempt: Attempt
    ) -> None:
        with Held() as held:
            if attempt.charge is not None:
                attempt.charge.show()  # a comment may take the head with it
            attempt.answer = self._silences.keep(attempt.answer, held)
            await answered

    async def _along(self, routes: Sequence[Route], chain: ModelSettings, attempt: Attempt) -> None:
        """The attempts of one request, until one is answered or its failure is the last."""
        now = self._loop.time
        answer = attempt.answer
        holds_back = attempt.ask.streamed and chain.commit == "complete"
        course = Course(
            routes,
            chain.retries,
            self.breakers,
            attempt.until,
            patient=chain.busy == "wait" or attempt.ask.prefers_local,
        )
        attempt.begun, attempt.still = course.began, course.check
        while (route := course.target(now())) is not None:
            attempt.answer = HeldBack(answer) if holds_back else answer
            sets_out(attempt, course, chain)
            wait: float | None = 0.0
            try:
                await self._attempt(route, attempt)
            except (InvalidRequest, NoSlot, RateLimited) as error:
                course.passed_over(error)
                if answer.started:
                    raise
            except UpstreamError as error:
                wait = course.failed(error, now(), random.random())  # noqa: S311 - no secret
                self._note(course, route, error)
                if wait is None or answer.started:
                    raise
            except BaseException:
                course.left()
                raise
            else:
                course.good(now())
                return
            if wait:
                await asyncio.sleep(wait)
        raise course.told()

    def _note(self, course: Course, route: Route, error: UpstreamError) -> None:
        if error.kind is Kind.CONTEXT_LENGTH:
            course.keep(self._sight.not_smaller(route))
        _log.warning("%s: %s %s", route.upstream, error.kind.value, error.status or "")
        self._metrics.attempt_failed(route.upstream, error)

    async def _attempt(self, route: Route, attempt: Attempt) -> None:
        """Ask one target, once, and give its answer."""
        ask, headers = attempt.ask, attempt.answer.headers
        if "x-facade-upstream" in headers:
            forget(headers)
        upstream = self._upstreams[route.upstream]
        headers["x-facade-upstream"] = upstream.name
        headers["x-facade-model"] = route.model
        headers["x-facade-attempts"] = str(attempt.number)
        attempt.meter.upstream, attempt.meter.model = upstream.name, route.model
        listing = self._discovery.listings[route.upstream]
        local_only = ask.constraints is not None and ask.constraints.local_only
        known = listing.target(
            route.model,
            describe=listing.describes is not None and ask.media(),
            local_only=local_only,
        )
        target = known if isinstance(known, Target) else await known
        if attempt.warm and upstream.name in self._warming:
            await self._warming[upstream.name].check(target)
        encoded = ask.encode(upstream.dialect, target)
        calls = await encoded if isinstance(encoded, Wait) else encoded
        for warning in calls[0].warnings:
            warn(headers, warning)
        reply = attempt.identity.reply(target)
        asked = Asked(upstream, self._queues.get(route.upstream), calls, reply, local_only)
        if self._sight.measures:
            attempt.stopwatch = self._sight.stopwatch(route)
        if attempt.charge is not None:
            attempt.charge.attempt(upstream.name, len(calls))
        try:
            await answered_by(asked, attempt)
        except BaseException as error:
            if attempt.charge is not None:
                attempt.charge.missed(error)
            raise
