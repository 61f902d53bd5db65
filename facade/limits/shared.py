"""The store of several processes, in Valkey or Redis: one script for each verb.

Strategy: the server runs a script as one step, by its own clock (docs/decisions/0013). What is
asked while an answer is under way goes in the next trip, all at once and in order. A place is
held for LAPSE seconds and renewed while its process lives. Nothing is sent twice: what a lost
answer leaves is a bucket that drains by itself, never one that was refunded twice. Only places
are given up again, which does no harm: a server that was stopped still does what it was asked
before. What ends while the server does not answer is kept until it does. All keys share one hash
tag, for a script may touch any of them.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

from valkey.asyncio import Valkey
from valkey.asyncio.retry import Retry
from valkey.backoff import NoBackoff
from valkey.exceptions import ResponseError, ValkeyError

from facade.errors import LimitsUnavailable
from facade.limits.buckets import (
    PLACE_WAIT,
    Bucket,
    Lease,
    Refusal,
    Said,
    asked,
    never_fits,
    owed,
)
from facade.limits.places import LOOKS
from facade.waits import Wait

_log = logging.getLogger(__name__)
PREFIX: Final = "{facade}:limit:"
LAPSE: Final = 30.0  # seconds that a place is held for a process that says nothing
_STANDS: Final = int(LOOKS * 10_000)  # ms that one who does not look stands in line
_PATIENCE: Final = 0.5  # seconds for one trip
_TRIP: Final = 128  # calls
_MOST_KEPT: Final = 10_000  # calls; beyond them places lapse, and what is owed is forgotten
_FAILURES: Final = (ValkeyError, OSError, TimeoutError)


def source(verb: str) -> str:
    """The script of a verb, in Lua."""
    folder = Path(__file__).parent
    return "\n".join((folder / f"{name}.lua").read_text() for name in ("buckets", verb))


class _Call(NamedTuple):
    """`then` gets the script's answer, or the error that stands for it."""

    script: str
    keys: Sequence[str]
    given: Sequence[Any]  # texts and whole numbers
    then: Callable[[Any], object]


class SharedStore:
    """By the client of one server, which `close` closes too."""

    def __init__(self, client: Valkey) -> None:
        self._client = client
        self._take, self._settle, self._renew = map(source, ("take", "settle", "renew"))
        self._line = source("line")
        self._ids = map(f"{uuid.uuid4().hex}-{{}}".format, count())
        self._places: dict[str, list[str]] = {}  # by lease, the keys where it holds one
        self._waiting: list[_Call] = []
        self._failing = False
        self._unsure: deque[_Call] = deque(maxlen=_MOST_KEPT)  # places that may be held for nobody
        self._unsent: deque[_Call] = deque(maxlen=_MOST_KEPT)  # ends of leases
        self._trips: asyncio.Future[None] | None = None
        self._renewal: asyncio.Task[None] | None = None  # once a place is held

    def take(self, lease: Lease) -> Said | Wait[Said]:
        if not lease.buckets:
            return None
        if too_large := never_fits(lease):
            return too_large
        lease.id = next(self._ids)
        given: list[str | int] = [lease.id, int(LAPSE * 1000), PLACE_WAIT]
        for bucket in lease.buckets:
            limit = bucket.limit
            given += limit.capacity, limit.rate, limit.unit, *asked(limit, lease.tokens)
        keys = [PREFIX + bucket.key for bucket in lease.buckets]
        return self._asked(lease, self._take, keys, given)

    def stand(self, lease: Lease) -> Wait[Said]:
        """Stand in line for the lease's one place; None if it was its turn. Else to be repeated."""
        (bucket,) = lease.buckets
        lease.id = lease.id or next(self._ids)
        keys = _of_line(bucket)
        given = [lease.id, int(LAPSE * 1000), PLACE_WAIT, bucket.limit.amount, _STANDS]
        return self._asked(lease, self._line, keys, given)

    def leave(self, lease: Lease) -> None:
        """Give the lease's place back, or up what it stands in line for. Harmless twice."""
        if lease.id and not lease.ended:
            lease.ended = True
            self._places.pop(lease.id, None)
            keys = _of_line(*lease.buckets)
            self._send(_Call(self._settle, keys, [lease.id, *(0, 0) * len(keys)], _ignore))

    def _asked(
        self, lease: Lease, script: str, keys: Sequence[str], given: Sequence[Any]
    ) -> Wait[Said]:
        said: Wait[Said] = asyncio.get_running_loop().create_future()
        self._send(_Call(script, keys, given, partial(self._taken, lease, said)))
        return said

    def settle(self, lease: Lease, tokens: int | None) -> None:
        if not lease.ended:
            lease.ended = True
            self._give_back(lease, tokens)

    def renew(self) -> None:
        """Hold all places for another LAPSE seconds."""
        for call in self._renewals():
            self._send(call)

    def _renewals(self) -> list[_Call]:
        """One call, if any place is held."""
        held = [(key, lease) for lease, keys in self._places.items() for key in keys]
        if not held:
            return []
        keys, leases = zip(*held, strict=True)
        return [_Call(self._renew, keys, [int(LAPSE * 1000), *leases], _ignore)]

    async def written(self) -> None:
        """Wait until all that was asked is answered, or has failed."""
        if self._trips:
            await asyncio.wait([self._trips])

    async def close(self) -> None:
        await self.written()  # which may still find that a place is held
        if self._renewal:
            self._renewal.cancel()
        await self._client.aclose()

    def _send(self, call: _Call) -> None:
        if self._failing and call.script is self._settle:
            self._unsent.append(call)
            return
        self._waiting.append(call)
        if self._trips is None or self._trips.done():
            self._trips = asyncio.ensure_future(self._make_trips())

    async def _make_trips(self) -> None:
        if self._failing:  # it may have forgotten who holds a place, or believe that we do
            self._waiting = [*self._renewals(), *self._unsure, *self._waiting]
        while self._waiting:
            calls, self._waiting = self._waiting[:_TRIP], self._waiting[_TRIP:]
            answers: list[Any]
            try:
                async with asyncio.timeout(_PATIENCE):
                    answers = await self._trip(calls)
                self._note(next((each for each in answers if isinstance(each, Exception)), None))
                if not self._failing:
                    self._unsure.clear()
                    self._waiting = [*self._unsent, *self._waiting]
                    self._unsent.clear()
            except _FAILURES as error:  # who still waits need not find it out one by one
                self._note(error)
                behind, self._waiting = self._waiting, []
                self._unsent.extend(call for call in behind if call.script is self._settle)
                calls += [call for call in behind if call.script is not self._settle]
                answers = [error] * len(calls)
            for call, answer in zip(calls, answers, strict=True):
                call.then(answer)

    def _note(self, error: Exception | None) -> None:
        """Said once, and once more when it is over."""
        if error and not self._failing:
            said = str(error) or type(error).__name__
            _log.error("the store of the limits does not answer: %s", said)
        elif self._failing and not error:
            _log.warning("the store of the limits answers again")
        self._failing = error is not None

    async def _trip(self, calls: Sequence[_Call]) -> list[Any]:
        """Scripts go as text, 2 kB each: a server that restarted lacks nothing."""
        trip = self._client.pipeline(transaction=False)
        for call in calls:
            trip.eval(call.script, len(call.keys), *call.keys, *call.given)
        answers: list[Any] = await trip.execute(raise_on_error=False)
        return answers

    def _taken(self, lease: Lease, said: Wait[Said], answer: Any) -> None:  # noqa: ANN401 - of a script
        if isinstance(answer, Exception):
            places = _places(lease)
            if places and not isinstance(answer, ResponseError):  # which has taken nothing
                given = [lease.id, *(0, 0) * len(places)]
                self._unsure.append(_Call(self._settle, places, given, _ignore))
            if not said.done():
                said.set_exception(_unavailable(answer))
            return
        refusal = None
        lacking, milliseconds, lease.used, taken = answer
        if lacking:
            bucket = lease.buckets[lacking - 1]
            refusal = Refusal(bucket, milliseconds / 1000)
        else:
            lease.taken = taken
            if places := _places(lease):
                self._places[lease.id] = places
                if self._renewal is None:
                    self._renewal = asyncio.ensure_future(self._keep_renewing())
        if lease.ended:  # by someone who left meanwhile
            self._give_back(lease, None)
        if not said.done():
            said.set_result(refusal)

    def _give_back(self, lease: Lease, tokens: int | None) -> None:
        self._places.pop(lease.id, None)
        keys: list[str] = []
        given: list[str | int] = [lease.id]
        for index, bucket, change in owed(lease, tokens):
            if change:
                lease.used[index] = max(lease.used[index] + change, 0)
                keys.append(PREFIX + bucket.key)
                given += bucket.limit.rate, change
        if keys:
            self._send(_Call(self._settle, keys, given, _ignore))

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(_PATIENCE if self._failing else LAPSE / 3)
            self.renew()


def connected(url: str) -> Valkey:
    """A client for the store: valkey:// or redis://, with another s for TLS."""
    once = Retry(NoBackoff(), 0)  # a refund that came twice would be one too many
    client: Valkey = Valkey.from_url(url, socket_connect_timeout=_PATIENCE, retry=once)
    return client


def _places(lease: Lease) -> list[str]:
    """The keys where it takes a place."""
    return [PREFIX + bucket.key for bucket in lease.buckets if not bucket.limit.period]


def _of_line(bucket: Bucket) -> list[str]:
    """The keys of its places, of the line before them, and of when each in it has left."""
    places = PREFIX + bucket.key
    return [places, f"{places}:line", f"{places}:left"]


def _ignore(_: object) -> None:
    """An end or a renewal that failed: buckets drain and places lapse by themselves."""


def _unavailable(error: Exception) -> LimitsUnavailable:
    return LimitsUnavailable(
        "the store that counts the limits does not answer, and without it nothing that is "
        f"limited is let through ({type(error).__name__})",
        retry_after=1.0,
    )
