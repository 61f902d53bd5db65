"""Whose turn it is among those who wait for a slot.

Strategy: every order is fixed when a caller enters, so that time costs nothing. Three rules:

1. Bands. The most urgent band that waits goes first. Aging is a head start: a waiter's rank is
   its arrival plus the seconds its band stands back, and the oldest of a lower band goes before
   one of a higher band that has the greater rank. So once those seconds have passed, no more
   urgent one that comes later goes before it.
2. Fairness inside a band: self-clocked fair queueing. A caller's waiters have tags 1 / weight
   apart, the first one behind the tag that is being served: a caller with a hundred waiting
   gets as many turns as a caller with one.
3. Models inside a band: who asks for a loaded model goes first, at most so many times in a row.

Source of 2: S. J. Golestani, "A self-clocked fair queueing scheme", INFOCOM 1994.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final, Literal

from msgspec import Struct

from facade.auth import Band

Lane = Literal["generation", "embedding"]  # embeddings are short, and have slots of their own

# In seconds, the most urgent band first.
STANDS_BACK: Final[dict[Band, float]] = {"interactive": 0.0, "normal": 30.0, "batch": 120.0}
MOST_LOADED_IN_A_ROW: Final = 8


class Asker(Struct, frozen=True):
    """Who asks for a slot. `patience`: how many seconds it waits, 0 for not at all.

    `weight`: how many turns it gets where others of its band get one.
    """

    caller: str
    band: Band
    lane: Lane
    model: str
    patience: float
    weight: int = 1


class Turn:
    """A place in the line. Compared by fairness, then arrival."""

    __slots__ = ("arrived", "asker", "number", "rank", "tag", "waits")

    def __init__(self, asker: Asker, arrived: float, number: int) -> None:
        self.asker = asker
        self.arrived = arrived
        self.number = number
        self.rank = arrived + STANDS_BACK[asker.band]
        self.tag = 0.0
        self.waits = True

    def __lt__(self, other: Turn) -> bool:
        if self.tag != other.tag:
            return self.tag < other.tag
        return self.number < other.number


class Turns:
    """The line of one lane. `loaded` gives the models that are in memory, as far as is known.

    `held` are models whose turns do not come for now.
    """

    def __init__(self, loaded: Callable[[], Collection[str] | None]) -> None:
        self.held: set[str] = set()
        self._loaded = loaded
        self._bands = {band: _BandTurns() for band in STANDS_BACK}
        self._entered = 0

    def enter(self, asker: Asker, now: float) -> Turn:
        self._entered += 1
        turn = Turn(asker, now, self._entered)
        self._bands[asker.band].add(turn)
        return turn

    def leave(self, turn: Turn) -> None:
        self._bands[turn.asker.band].remove(turn)

    @property
    def ready(self) -> bool:
        """Whether somebody waits whose model is not held."""
        return any(band.ready(self.held) for band in self._bands.values())

    def first(self) -> Turn:
        """Whose turn it is. Somebody must be ready."""
        held, loaded = self.held, self._loaded() or ()
        highest, *lower = (band for band in self._bands.values() if band.ready(held))
        turn = highest.fairest(loaded, held)
        for band in lower:
            oldest = band.oldest(held)
            if oldest.rank < turn.rank:
                turn = oldest
        return turn

    def serve(self, turn: Turn) -> None:
        """It waits no longer."""
        self._bands[turn.asker.band].serve(turn, self._loaded() or ())

    def take(self) -> Turn:
        """Whose turn it is; it waits no longer."""
        turn = self.first()
        self.serve(turn)
        return turn

    def waiting(self) -> dict[Band, int]:
        return {band: len(turns) for band, turns in self._bands.items()}

    def since(self) -> dict[Band, float | None]:
        """When the oldest of each band arrived."""
        return {
            band: turns.oldest(()).arrived if len(turns) else None
            for band, turns in self._bands.items()
        }


class _Caller:
    """A caller of whom somebody waits."""

    __slots__ = ("last", "waiting")

    def __init__(self) -> None:
        self.last = 0.0  # the tag of the one who came last
        self.waiting = 0


class _BandTurns:
    """The turns of one band. What is kept of callers and models is kept while they wait."""

    def __init__(self) -> None:
        self._by_arrival: OrderedDict[Turn, None] = OrderedDict()
        self._fair = _Fair()
        self._of_model: dict[str, _Fair] = {}
        self._callers: dict[str, _Caller] = {}
        self._serving = 0.0  # the tag of the first when somebody was last served
        self._loaded_in_a_row = 0

    def __len__(self) -> int:
        return len(self._by_arrival)

    def add(self, turn: Turn) -> None:
        caller = self._callers.setdefault(turn.asker.caller, _Caller())
        caller.waiting += 1
        caller.last = turn.tag = max(caller.last, self._serving) + 1 / turn.asker.weight
        self._by_arrival[turn] = None
        self._fair.add(turn)
        self._of_model.setdefault(turn.asker.model, _Fair()).add(turn)

    def remove(self, turn: Turn) -> None:
        turn.waits = False
        del self._by_arrival[turn]
        self._fair.left()
        of_model = self._of_model[turn.asker.model]
        of_model.left()
        if not of_model:
            del self._of_model[turn.asker.model]
        caller = self._callers[turn.asker.caller]
        caller.waiting -= 1
        if not caller.waiting:
            del self._callers[turn.asker.caller]

    def serve(self, turn: Turn, loaded: Collection[str]) -> None:
        self._serving = self._fair.first().tag
        self._loaded_in_a_row = self._loaded_in_a_row + 1 if turn.asker.model in loaded else 0
        self.remove(turn)

    def ready(self, held: Collection[str]) -> bool:
        """Whether somebody waits whose model is not held."""
        return any(model not in held for model in self._of_model)

    def oldest(self, held: Collection[str]) -> Turn:
        return next(turn for turn in self._by_arrival if turn.asker.model not in held)

    def fairest(self, loaded: Collection[str], held: Collection[str]) -> Turn:
        """The first by fairness, if possible of those whose model is loaded."""
        firsts = {
            model: fair.first() for model, fair in self._of_model.items() if model not in held
        }
        ready = (firsts[model] for model in loaded if model in firsts)
        first = min(firsts.values())
        return first if self._loaded_in_a_row >= MOST_LOADED_IN_A_ROW else min(ready, default=first)


class _Fair:
    """A heap of turns. One who has left stays until it comes to the front, or as many have left
    as wait: so removing costs no search, and what is kept is at most twice those who wait.
    """

    def __init__(self) -> None:
        self._heap: list[Turn] = []
        self._left = 0  # since the heap was last made anew

    def __bool__(self) -> bool:
        """Whether anybody waits; holds when those who left were told."""
        return bool(self._heap)

    def add(self, turn: Turn) -> None:
        heapq.heappush(self._heap, turn)

    def left(self) -> None:
        """One of these waits no longer."""
        self._left += 1
        if self._left * 2 > len(self._heap):
            self._heap = [turn for turn in self._heap if turn.waits]
            heapq.heapify(self._heap)
            self._left = 0

    def first(self) -> Turn:
        while not self._heap[0].waits:
            heapq.heappop(self._heap)
        return self._heap[0]
