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
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from adapters.dialect import Encoded, Reply, Target, Whole
from adapters.errors import InvalidRequest, Kind, UpstreamError
from adapters.wire import Chunk
from facade.admission import Admission
from facade.ask import Ask, Attempt, Face, Identity
from facade.attempts import Course
from facade.breaker import Breakers
from facade.config import ModelSettings
from facade.discovery import Discovery
from facade.errors import NoSlot, RateLimited, name_input
from facade.faces import sse
from facade.held import Held
from facade.limits.charges import Counted, Limits
from facade.listening import ServerSettings
from facade.metrics import Metrics
from facade.planning import Plan, Route
from facade.routing import Routing
from facade.sight import Sight
from facade.slots import sets_out, take_slot
from facade.upstreams import Answering, Upstream
from facade.warming import Warming
from facade.wire.answer import AnswerWriter, forget, warn
from facade.wire.held_back import HeldBack
from facade.wire.kept_alive import Silences

_log = logging.getLogger(__name__)
JSON: Final = {"content-type": "application/json"}


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
        until = asyncio.get_running_loop().time() + self._deadline
        meter = self._metrics.begin(ask.input, ask.model)
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
            await self._answered(plan, attempt)
        except BaseException as error:
            left = isinstance(error, asyncio.CancelledError)
            charge.leave(given=left or attempt.answer.started)
            raise

    async def _answered(self, plan: Plan, attempt: Attempt) -> None:
        with Held() as held:
            if attempt.ask.streamed:
                if attempt.charge is not None:
                    attempt.charge.show()  # a comment may take the head with it
                attempt.answer = self._silences.keep(attempt.answer, held)
            if plan.chain is None:
                await self._attempt(plan.routes[0], attempt)
            else:
                await self._along(plan.routes, plan.chain, attempt)

    async def _along(self, routes: Sequence[Route], chain: ModelSettings, attempt: Attempt) -> None:
        """The attempts of one request, until one is answered or its failure is the last."""
        now = asyncio.get_running_loop().time
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
        if attempt.number > 1:
            forget(headers)
        upstream = self._upstreams[route.upstream]
        headers["x-facade-upstream"] = upstream.name
        headers["x-facade-model"] = route.model
        headers["x-facade-attempts"] = str(attempt.number)
        attempt.meter.upstream, attempt.meter.model = upstream.name, route.model
        listing = self._discovery.listings[route.upstream]
        known = listing.target(route.model, describe=ask.media, local_only=ask.local_only)
        target = known if isinstance(known, Target) else await known
        if attempt.warm and upstream.name in self._warming:
            await self._warming[upstream.name].check(target)
        calls = await ask.encoded(upstream.dialect, target)
        for warning in calls[0].warnings:
            warn(headers, warning)
        identity = attempt.identity
        reply = Reply(identity.id, identity.created, target.model, target.fingerprint)
        asked = (upstream, self._queues.get(route.upstream), calls, reply)
        attempt.stopwatch = self._sight.stopwatch(route)
        if attempt.charge is not None:
            attempt.charge.attempt(upstream.name, len(calls))
        try:
            await (_stream if ask.streamed else _whole)(attempt, asked)
        except BaseException as error:
            if attempt.charge is not None:
                attempt.charge.missed(error)
            raise


Asked = tuple[Upstream, Admission | None, Sequence[Encoded], Reply]


async def _open(call: Encoded, asked: Asked, attempt: Attempt, held: Held) -> Answering | Counted:
    """What has begun; good or bad, its answer shows what is left of the target's limits."""
    upstream, queue, _, reply = asked
    slot = await take_slot(queue, reply.model, attempt, held) if queue is not None else None
    if attempt.charge is not None:
        await attempt.charge.enter()
    try:
        local_only = attempt.ask.local_only
        answering = await upstream.open(call, reply, held, attempt.until, local_only=local_only)
        if slot is not None:
            slot.begun()
        if attempt.stopwatch:
            attempt.stopwatch()
        return answering if attempt.charge is None else Counted(answering, attempt.charge)
    finally:
        limits = upstream.limits(reply.model)
        if attempt.charge is not None:
            attempt.charge.tell(limits, streamed=attempt.ask.streamed)
        elif limits is not None:
            attempt.answer.headers |= limits.headers()


async def _stream(attempt: Attempt, asked: Asked) -> None:
    """All calls of the attempt as one stream, one after the other."""
    _, _, calls, _ = asked
    answer = attempt.answer
    face: Face | None = None
    for call in calls:
        with Held() as held:
            answering = await _open(call, asked, attempt, held)
            if face is None:
                face = attempt.ask.face(answering.reply)
                attempt.begun()
                attempt.meter.begins()
                answer.start(200, sse.HEADERS)
            await _relay(answering, face, attempt)
    if attempt.charge is not None:
        attempt.charge.settle()
    if face is not None:
        answer.write(face.end())
    answer.end()


async def _whole(attempt: Attempt, asked: Asked) -> None:
    """All calls of the attempt as one JSON answer; any failure fails it."""
    _, _, calls, reply = asked
    answer = attempt.answer
    chunks: list[Chunk] = []
    for call in calls:
        with Held() as held:
            answering = await _open(call, asked, attempt, held)
            if call.whole:
                _in_one_piece(attempt, call.whole(await answering.whole(), reply))
                return
            while (more := await answering.chunks()) is not None:
                chunks += more
                attempt.meter.see(more)
        reply = answering.reply
    if attempt.charge is not None:
        attempt.charge.settle()
        attempt.charge.show()
    if any(chunk.usage and chunk.usage.partial for chunk in chunks):
        warn(answer.headers, "the upstream did not count all tokens: usage is incomplete")
    answer.whole(200, JSON, attempt.ask.face(reply).whole(chunks))


def _in_one_piece(attempt: Attempt, whole: Whole) -> None:
    if attempt.charge is not None:
        attempt.charge.whole(whole)
    attempt.meter.used(whole.usage)
    attempt.answer.whole(200, JSON, whole.body)


async def _relay(answering: Answering | Counted, face: Face, attempt: Attempt) -> None:
    """Chunks to the client until the upstream's end; no reading ahead of a slow client.

    What is over waits for no client: its slot is free.
    """
    answer = attempt.answer
    while (chunks := await answering.chunks()) is not None:
        answer.write(face.render(chunks))
        attempt.meter.see(chunks)
        room = None if answering.over else answer.drained()
        if room is not None:
            await room
