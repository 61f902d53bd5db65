"""A pipeline to try, in-process: upstreams and clients do what a test says, when it says."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from msgspec import Struct

from adapters.constraints import Constraints
from adapters.dialect import Encoded, Reply, Target, UpstreamRequest
from adapters.errors import Kind, UpstreamError
from adapters.wire import Chunk
from facade.admission import Admission, Room
from facade.ask import Ask, Identity
from facade.auth import Band, Caller
from facade.config import ModelSettings
from facade.held import Held
from facade.line import Slot
from facade.listening import ServerSettings
from facade.metrics import Metrics
from facade.pipeline import Pipeline, Policy
from facade.planning import Plan, Route
from facade.turns import STANDS_BACK, Asker
from facade.waits import Wait

BANDS: Final[tuple[Band, ...]] = tuple(STANDS_BACK)
MODEL: Final = "llama"


class Call:
    """A call that came to an upstream, and its answer, which comes when the test says."""

    over = False

    def __init__(self, reply: Reply) -> None:
        loop = asyncio.get_running_loop()
        self.reply = reply
        self.closed = False
        self.begins: Wait[None] = loop.create_future()
        self.ends: Wait[None] = loop.create_future()
        self._said = 0

    @property
    def runs(self) -> bool:
        """Whether it still costs the upstream anything."""
        return not (self.over or self.closed)

    def close(self) -> None:
        self.closed = True

    def go_on(self) -> None:
        """Its first content is there, then its end."""
        for step in self._steps()[:1]:
            step.set_result(None)

    def fail(self, error: UpstreamError) -> None:
        for step in self._steps()[:1]:
            step.set_exception(error)

    def finish(self) -> None:
        """All of a good answer is there."""
        for step in self._steps():
            step.set_result(None)

    def _steps(self) -> list[Wait[None]]:
        return [step for step in (self.begins, self.ends) if not step.done()]

    async def chunks(self) -> list[Chunk] | None:
        self._said += 1
        if self._said == 1:
            return [Chunk(content="words")]
        if self._said == 2:
            await self.ends
            self.over = True
            return [Chunk(finish="stop")]
        return None


class Played:
    """An upstream whose calls are played by the test."""

    dialect = describes = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[Call] = []

    async def open(
        self, _: Encoded, reply: Reply, held: Held, until: float, *, local_only: bool
    ) -> Call:
        assert not local_only
        call = Call(reply)
        self.calls.append(call)
        held.add(call.close)
        try:
            async with asyncio.timeout_at(until):
                await call.begins
        except TimeoutError:
            raise UpstreamError(Kind.TIMEOUT, "the test's call hung") from None
        return call

    def limits(self, _: str) -> None:
        return None

    def target(self, model: str, *, describe: bool, local_only: bool) -> Target:
        assert not describe
        assert not local_only
        return Target(self.name, model)

    def running(self) -> list[Call]:
        return [call for call in self.calls if call.runs]


class Client:
    """Who reads an answer, or does not: while it is `stuck` nothing drains."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.started = self.ended = False
        self._room: Wait[None] | None = None

    def whole(self, _: int, __: Mapping[str, str], ___: bytes) -> None:
        self.started = self.ended = True

    def start(self, _: int, __: Mapping[str, str]) -> None:
        self.started = True

    def write(self, _: bytes) -> None:
        assert not self.ended

    def drained(self) -> Wait[None] | None:
        return self._room

    def end(self) -> None:
        assert self.started
        self.ended = True

    def sticks(self) -> None:
        self._room = self._room or asyncio.get_running_loop().create_future()

    def reads(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None


class Watched(Admission):
    """A queue that notes whose turn it was, by the rule: the least rank, then the higher band.

    It holds where each band has one caller: then nobody is passed over for fairness.
    """

    def __init__(self, name: str, room: Room) -> None:
        super().__init__(name, room, asyncio.get_running_loop().time, self._choosing)
        self._line: list[tuple[float, int, int, Wait[Slot]]] = []
        self.due: list[Wait[Slot]] = []

    def enter(self, asker: Asker) -> Slot | Wait[Slot]:
        asked = super().enter(asker)
        if isinstance(asked, Wait):
            rank = asyncio.get_running_loop().time() + STANDS_BACK[asker.band]
            self._line.append((rank, BANDS.index(asker.band), len(self._line), asked))
        return asked

    def _choosing(self) -> None:
        """Asked for what is loaded, before it chooses: it says that this cannot be known."""
        waiting = [each for each in self._line if not each[3].done()]
        if waiting and len(waiting) == self.snapshot()["generation"].waiting:
            self.due.append(min(waiting)[3])


class _Face:
    def render(self, _: Sequence[Chunk]) -> bytes:
        return b"said"

    def end(self) -> bytes:
        return b"end"

    def whole(self, _: Sequence[Chunk]) -> bytes:
        return b"{}"


class How(Struct, frozen=True):
    """How a request is asked."""

    band: Band = "normal"
    streamed: bool = False
    choices: int = 1
    patience: float = math.inf


PLAIN: Final = How()


class Rig:
    """Two upstreams, and a pipeline over them. Aliases: `wait`, `next`; the rest are upstreams."""

    def __init__(self, room: Room) -> None:
        self.upstreams = {name: Played(name) for name in ("one", "two")}
        self.queues = {name: Watched(name, room) for name in self.upstreams}
        server = ServerSettings(keep_alive_comments=0)
        policy = Policy(server, cast(Mapping[str, Admission], self.queues), Metrics())
        self._pipeline = Pipeline(
            cast(Any, self), cast(Any, self), cast(Any, self.upstreams), policy
        )

    @property
    def listings(self) -> Mapping[str, Played]:
        return self.upstreams

    def plan(self, model: str, _: Constraints | None) -> Plan:
        if model in self.upstreams:
            return Plan((Route(model, MODEL),))
        settings = ModelSettings(targets=("one/llama", "two/llama"), busy=cast(Any, model))
        return Plan(tuple(Route(name, MODEL) for name in self.upstreams), settings, model)

    def ask(self, client: Client, model: str, how: How = PLAIN) -> asyncio.Task[None]:
        """A request under way."""
        calls = [Encoded(UpstreamRequest("POST", "/"))] * how.choices
        ask = Ask(
            model=model,
            input="messages",
            encode=lambda *_: calls,
            face=lambda _: _Face(),
            size=cast(Any, None),  # nothing is limited
            caller=Caller(how.band, how.band),
            streamed=how.streamed,
            patience=how.patience,
        )
        running = self._pipeline.run(ask, Identity("id", 0), cast(Any, client))
        return asyncio.get_running_loop().create_task(running)
