"""The admission queue of one upstream: calls and embeddings have slots and lines of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from facade.company import Loaded, Together, always
from facade.limits.places import Places
from facade.line import LaneState, Line, Slot
from facade.turns import Asker, Lane
from facade.waits import Wait


class Room(Struct, frozen=True):
    """How much an upstream takes. Slots: None for no limit; `most_waiting` is of each lane."""

    slots: int | None
    embedding_slots: int | None
    most_waiting: int


class Admission:
    """The queue of one upstream, for every face. It outlives the configuration it came from.

    `clock` is the loop's time, and what `now` gives; `loaded` gives the upstream's models that are
    in memory, None where that cannot be known; `together` whether two of them have been there at
    the same time.
    """

    def __init__(
        self,
        upstream: str,
        room: Room,
        clock: Callable[[], float],
        loaded: Loaded,
        together: Together = always,
    ) -> None:
        self.now = clock
        self.places: Mapping[Lane, Places] = {}  # where other processes use the slots too
        self._generation = Line(upstream, clock, loaded, together)
        self._embedding = Line(upstream, clock, loaded, together)
        self.resize(room)

    def enter(self, asker: Asker) -> Slot | Wait[Slot]:
        """A slot, or a Wait for it: cancelling that gives up the place, or the slot just granted.

        Raises Busy, QueueFull or UpstreamRemoved; the Wait raises WaitedOut or UpstreamRemoved.
        """
        lane = self._embedding if asker.lane == "embedding" else self._generation
        return lane.enter(asker)

    def free(self, lane: Lane) -> int | None:
        """Slots that nobody has, less those who wait; None: as many as come."""
        return (self._embedding if lane == "embedding" else self._generation).free()

    def resize(self, room: Room) -> None:
        """Fewer slots drain down; more serve those who wait at once. Whoever waits stays."""
        self._generation.resize(room.slots, room.most_waiting)
        self._embedding.resize(room.embedding_slots, room.most_waiting)

    def look(self) -> None:
        """Other models may be in memory than before."""
        self._generation.look()
        self._embedding.look()

    def close(self) -> None:
        """The upstream is no longer configured: whoever waits is told. Running calls go on."""
        self._generation.close()
        self._embedding.close()

    def snapshot(self) -> dict[Lane, LaneState]:
        return {
            "generation": self._generation.snapshot(),
            "embedding": self._embedding.snapshot(),
        }
