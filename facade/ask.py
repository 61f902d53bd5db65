"""A request on its way through the pipeline, and what its attempts share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from adapters.constraints import Constraints
from adapters.dialect import Dialect, Encoded, Reply, Target
from adapters.wire import Chunk
from facade.auth import ANYBODY, Address, Caller
from facade.limits.charges import Charge
from facade.limits.estimates import Size
from facade.metrics import Meter
from facade.needs import Needs
from facade.turns import Lane
from facade.waits import Wait
from facade.wire.answer import AnswerWriter


class Face(Protocol):
    """Chunks in the form the caller speaks."""

    def render(self, chunks: Sequence[Chunk]) -> bytes: ...

    def end(self) -> bytes: ...

    def whole(self, chunks: Sequence[Chunk]) -> bytes: ...


Encode = Callable[[Dialect, Target], Sequence[Encoded] | Wait[Sequence[Encoded]]]


class Ask(Struct, frozen=True):
    """A request, as far as the pipeline is concerned.

    `input` is the field that may be too long; `size`: its tokens, as far as they are known
    before; `media`: whether it carries images or audio; `address`: where it comes from, if that
    matters; `patience`: how many seconds it waits for slots in all.
    """

    model: str
    input: str
    encode: Encode
    face: Callable[[Reply], Face]  # not called where the upstream answers whole
    size: Callable[[], Size]
    needs: Callable[[], Needs] = Needs
    caller: Caller = ANYBODY
    address: Address | None = None
    lane: Lane = "generation"
    patience: float = math.inf
    streamed: bool = False
    media: Callable[[], bool] = bool
    constraints: Constraints | None = None

    @property
    def prefers_local(self) -> bool:
        """Whether it rather waits for a target of the operator's own than goes to another."""
        it = self.constraints
        return it is not None and (it.local_only or it.prefer_local)


class Identity(Struct, frozen=True):
    """What makes an answer one of a kind; see Reply."""

    id: str
    created: int

    def reply(self, target: Target) -> Reply:
        """The answer's, as we would tell it."""
        return Reply(self.id, self.created, target.model, target.fingerprint)


def _unheard() -> None:
    pass


def _unlooked(_: float) -> None:
    pass


class Attempt(Struct):
    """What the attempts of a request share, and what is so of this one.

    `until`: when the request's time is over, by the loop's time. `queued`: the seconds that it
    has waited for slots; `patience`: those that it waits for the next one. `begun` is called
    when a stream has its first content, `still` with the time when a slot was waited for: may the
    target still be asked?
    """

    ask: Ask
    identity: Identity
    answer: AnswerWriter
    until: float
    meter: Meter
    number: int = 1
    queued: float = 0.0
    patience: float = math.inf
    warm: bool = False  # the target is asked only if its model is in memory
    begun: Callable[[], None] = _unheard
    still: Callable[[float], None] = _unlooked
    charge: Charge | None = None  # None: nothing is limited
    stopwatch: Callable[[], None] | None = None  # called when the answer begins
