"""The breaker: whatever comes in whatever order, one probe at a time, and no 429 opens it."""

from __future__ import annotations

from typing import Final

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from facade import breaker
from facade.breaker import CONSECUTIVE, LEAST, REST, Breaker, Breakers, Rest

SECONDS: Final = st.integers(0, int(8 * REST)).map(lambda quarters: quarters / 4)  # exact


class Requests(RuleBasedStateMachine):
    """Any interleaving of requests to one target. `opened_at`: the model of it; None: closed."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 100.0
        self.cools_until = 0.0
        self.running: list[bool] = []  # whether each is the probe
        self.failed_ever = False

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def one_comes(self) -> None:
        if self.breaker.rest(self.now) is None:
            self.running.append(self.breaker.begin())

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def one_is_answered(self, data: st.DataObject) -> None:
        probe = self._ends(data)
        self.breaker.good(self.now, probe=probe)
        assert not probe or self._open_for() is None

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def one_fails(self, data: st.DataObject) -> None:
        probe = self._ends(data)
        self.failed_ever = True
        self.breaker.failed(self.now, probe=probe)
        assert not probe or REST == self._open_for()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def one_leaves(self, data: st.DataObject) -> None:
        if self._ends(data):
            self.breaker.leave()

    @precondition(lambda self: True in self.running)
    @rule()
    def the_probe_brings_content(self) -> None:
        self.running[self.running.index(True)] = False  # it goes on as any other
        self.breaker.close()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), seconds=SECONDS)
    def one_is_limited(self, data: st.DataObject, seconds: float) -> None:
        if self._ends(data):
            self.breaker.leave()
        self.breaker.cool(self.now + seconds, limited=True)
        self.cools_until = max(self.cools_until, self.now + seconds)

    @invariant()
    def there_is_one_probe_at_most(self) -> None:
        assert self.running.count(True) <= 1

    @invariant()
    def who_probes_keeps_others_out(self) -> None:
        if True in self.running:
            assert self.breaker.rest(self.now) is not None

    @invariant()
    def the_latest_end_of_a_limit_holds(self) -> None:
        rest = self.breaker.rest(self.now)
        if self.now < self.cools_until:
            assert Rest(self.cools_until - self.now, limited=True) == rest
        else:
            assert rest is None or not rest.limited

    @invariant()
    def a_limit_opens_nothing(self) -> None:
        assert self.failed_ever or self._open_for() is None

    @invariant()
    def nobody_is_kept_out_for_longer_than_a_rest(self) -> None:
        assert (self._open_for() or 0.0) <= REST

    def _ends(self, data: st.DataObject) -> bool:
        return self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))

    def _open_for(self) -> float | None:
        """Seconds, whatever limit holds too."""
        until = self.breaker._opened_until
        return None if until is None else max(until - self.now, 0.0)


TestRequests = Requests.TestCase


def _failed(times: int) -> Breaker:
    found = Breaker()
    for _ in range(times):
        found.failed(0.0, probe=False)
    return found


def test_it_opens_after_so_many_failures_in_a_row_and_not_before() -> None:
    assert _failed(CONSECUTIVE - 1).rest(0.0) is None
    assert Rest(REST, limited=False) == _failed(CONSECUTIVE).rest(0.0)


def test_a_good_answer_between_them_begins_the_row_anew() -> None:
    found = _failed(CONSECUTIVE - 1)
    found.good(0.0, probe=False)
    found.failed(0.0, probe=False)
    assert found.rest(0.0) is None


def test_half_of_a_window_opens_it_too() -> None:
    found = Breaker()
    for _ in range(LEAST // 2):
        assert found.rest(0.0) is None
        found.good(0.0, probe=False)
        found.failed(0.0, probe=False)
    assert found.rest(0.0) is not None


def test_what_is_long_past_is_forgotten() -> None:
    found = Breaker()
    for now in range(20):
        found.good(now * 60.0, probe=False)
        found.failed(now * 60.0 + 1, probe=False)
        assert found.rest(now * 60.0 + 1) is None


def test_who_began_before_it_opened_neither_closes_it_nor_keeps_it_open() -> None:
    found = _failed(CONSECUTIVE)
    found.good(1.0, probe=False)
    found.failed(2.0, probe=False)
    assert Rest(REST - 2.0, limited=False) == found.rest(2.0)
    assert found.rest(REST) is None


def test_only_so_many_targets_are_remembered() -> None:
    breakers = Breakers[int]()
    for number in range(breaker._MOST_TARGETS + 1):
        breakers.of(number)
    assert breakers.find(0) is None
    assert breakers.find(1) is not None
