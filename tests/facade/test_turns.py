"""Whose turn it is: each rule on its own, and the bounds that they promise."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.auth import Band
from facade.turns import (
    MOST_LOADED_IN_A_ROW,
    STANDS_BACK,
    Asker,
    Turn,
    Turns,
)

FIRST: Final = "llama"
BANDS: Final = st.sampled_from([*STANDS_BACK])


def asker(caller: str, band: Band = "normal", model: str = FIRST, weight: int = 1) -> Asker:
    return Asker(caller, band, "generation", model, 60.0, weight)


def line(*askers: Asker, loaded: Collection[str] = (), at: float = 0.0) -> Turns:
    turns = Turns(lambda: loaded)
    for each in askers:
        turns.enter(each, at)
    return turns


def taken(turns: Turns, most: int = 1_000_000) -> list[Turn]:
    found: list[Turn] = []
    while sum(turns.waiting().values()) and len(found) < most:
        found.append(turns.take())
    return found


def callers(found: list[Turn]) -> str:
    return " ".join(turn.asker.caller for turn in found)


def test_the_more_urgent_band_goes_first_whenever_it_came() -> None:
    turns = line(asker("late", "batch"), asker("mid", "normal"), asker("now", "interactive"))
    assert callers(taken(turns)) == "now mid late"


def test_who_came_first_goes_first_among_equals() -> None:
    assert callers(taken(line(*map(asker, "abcde")))) == "a b c d e"


@pytest.mark.parametrize(("band", "seconds"), [("normal", 30.0), ("batch", 120.0)])
def test_a_waiter_goes_before_a_more_urgent_one_that_came_so_much_later(
    band: Band, seconds: float
) -> None:
    turns = line(asker("old", band))
    turns.enter(asker("sooner", "interactive"), seconds)
    turns.enter(asker("later", "interactive"), seconds + 0.001)
    assert callers(taken(turns)) == "sooner old later"


def test_batch_gains_on_normal_too() -> None:
    turns = line(asker("old", "batch"))
    turns.enter(asker("sooner"), 90.0)
    turns.enter(asker("later"), 90.001)
    assert callers(taken(turns)) == "sooner old later"


def test_a_batch_waiter_is_served_although_urgent_ones_never_stop_coming() -> None:
    turns = line(asker("old", "batch"))
    now, grants = 0.0, 0
    while True:  # one comes each second, one is served each second
        turns.enter(asker(f"urgent {now}", "interactive"), now)
        grants += 1
        if turns.take().asker.caller == "old":
            break
        now += 1.0
    assert now == STANDS_BACK["batch"] + 1.0


@given(st.data())
def test_who_has_aged_is_passed_only_by_those_who_were_there(data: st.DataObject) -> None:
    """Whatever comes: so a waiter's turn is at most as many grants away as there are waiters."""
    turns = Turns(frozenset)
    waiting = [
        turns.enter(asker(f"there {number}", data.draw(BANDS)), number / 8)
        for number in range(data.draw(st.integers(0, 12)))
    ]
    old = turns.enter(asker("old", data.draw(BANDS)), 2.0)
    now, served = old.rank, 0
    while turns.take() is not old:
        served += 1
        assert served <= len(waiting)
        for _ in range(data.draw(st.integers(0, 2))):
            now += data.draw(st.floats(0.01, 50.0))
            band = data.draw(BANDS)
            turns.enter(asker(f"new {now}", band), now)


def test_a_caller_with_a_hundred_waiting_does_not_keep_one_with_one_from_its_turn() -> None:
    turns = line(*[asker("many")] * 100, asker("one"))
    assert callers(taken(turns, 3)) == "many one many"


def test_who_comes_while_a_crowd_is_being_served_is_next_but_one() -> None:
    turns = line(*[asker("many")] * 100)
    taken(turns, 50)
    turns.enter(asker("one"), 1.0)
    assert callers(taken(turns, 3)) == "many one many"


def test_a_caller_who_always_has_one_waiting_does_not_keep_the_crowd_from_half_the_turns() -> None:
    turns = line(*[asker("many")] * 50, asker("one"))
    found: list[Turn] = []
    for _ in range(20):
        found.append(turns.take())
        if found[-1].asker.caller == "one":
            turns.enter(asker("one"), 1.0)
    assert callers(found) == " ".join(["many one"] * 10)


def test_ever_new_callers_do_not_keep_a_crowd_from_its_turns() -> None:
    turns = line(*[asker("many")] * 10)
    found: list[Turn] = []
    for number in range(60):  # each round is one longer: 1 + 2 + ... + 10 = 55
        turns.enter(asker(f"new {number}"), 0.0)
        found.append(turns.take())
    assert callers(found).count("many") == 10


def test_a_caller_of_double_weight_gets_double_the_turns() -> None:
    turns = line(*[asker("light")] * 30, *[asker("heavy", weight=2)] * 30)
    found = callers(taken(turns, 30))
    assert (found.count("light"), found.count("heavy")) == (10, 20)


def test_what_a_caller_left_is_not_held_against_it() -> None:
    turns = Turns(frozenset)
    for turn in [turns.enter(asker("many"), 0.0) for _ in range(100)]:
        turns.leave(turn)
    turns.enter(asker("many"), 1.0)
    turns.enter(asker("other"), 1.0)
    assert callers(taken(turns)) == "many other"


def test_fairness_is_kept_in_each_band_apart() -> None:
    turns = line(*[asker("a", "batch")] * 9, asker("a"), asker("b"))
    assert callers(taken(turns, 2)) == "a b"


def test_the_loaded_model_is_preferred_among_equals_but_so_many_times_in_a_row() -> None:
    cold = [asker("cold", model="qwen")] * 2
    turns = line(*cold, *[asker("warm")] * 30, loaded=[FIRST])
    found = callers(taken(turns))
    row = " ".join(["warm"] * MOST_LOADED_IN_A_ROW)
    assert found.startswith(f"{row} cold {row} cold warm")


def test_models_do_not_alternate_on_one_upstream() -> None:
    loaded: list[str] = [FIRST]
    turns = line(*[asker("a"), asker("b", model="qwen")] * 40, loaded=loaded)
    loads = 0
    while sum(turns.waiting().values()):
        model = turns.take().asker.model
        loads += model not in loaded
        loaded[:] = [model]
    assert loads <= math.ceil(80 / (MOST_LOADED_IN_A_ROW + 1))


def test_who_comes_while_loaded_models_are_preferred_keeps_its_share() -> None:
    loaded = {FIRST}
    turns = line(*[asker("cold", model="qwen")] * 4, *[asker("warm")] * 8, loaded=loaded)
    taken(turns, 8)
    loaded.clear()
    turns.enter(asker("new", model="qwen"), 1.0)
    assert callers(taken(turns)) == "cold cold new cold cold"


def test_a_loaded_model_does_not_go_before_a_more_urgent_caller() -> None:
    cold = asker("cold", "interactive", model="qwen")
    turns = line(asker("warm"), cold, loaded=[FIRST])
    assert callers(taken(turns)) == "cold warm"


def test_what_is_kept_is_bounded_by_those_who_wait() -> None:
    turns = line(asker("stays"))
    for number in range(1000):
        turns.leave(turns.enter(asker(f"caller {number}", model=f"model {number}"), 0.0))
    band = turns._bands["normal"]
    kept = (band._by_arrival, band._callers, band._of_model)
    assert [len(each) for each in kept] == [1, 1, 1]
    assert len(band._fair._heap) <= 2
