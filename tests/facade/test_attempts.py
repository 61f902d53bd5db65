"""What follows from each failure: every kind has its row."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import FINAL, Incomplete, Kind, UpstreamError, broken
from facade.attempts import (
    LONGEST_COOLING,
    LONGEST_WAIT,
    Course,
    Decision,
    Resting,
    So,
    Step,
    decide,
)
from facade.breaker import CONSECUTIVE, REST, Breakers
from facade.planning import Route

FRESH: Final = So(failures=1, retries=2, last=False, jitter=0.0)
LAST: Final = So(failures=1, retries=2, last=True, jitter=0.0)
SPENT: Final = So(failures=1, retries=0, last=True, jitter=0.0)

#        kind: with retries, of the last target, without retries
ROWS: Final = {
    Kind.UNREACHABLE: "next again next",
    Kind.TIMEOUT: "again again next",
    Kind.CUT: "again again next",
    Kind.BROKEN: "again again next",
    Kind.CREDENTIAL: "next next next",
    Kind.PAYMENT: "next next next",
    Kind.MODEL_NOT_FOUND: "next next next",
    Kind.CONTEXT_LENGTH: "next next next",
    Kind.REJECTED: "told told told",
    Kind.CONFINED: "next next next",
    Kind.TOO_LARGE: "next next next",
    Kind.RATE_LIMITED: "again again next",
    Kind.OVERLOADED: "again again next",
    Kind.FAILED: "again again next",
    Kind.GATEWAY: "again again next",
}


def steps(error: UpstreamError) -> str:
    return " ".join(decide(error, so).step.value for so in (FRESH, LAST, SPENT))


def test_every_kind_has_its_row() -> None:
    assert set(Kind) == ROWS.keys()


@pytest.mark.parametrize(("kind", "row"), ROWS.items(), ids=lambda it: getattr(it, "value", ""))
def test_each_kind_is_followed_by_what_its_row_says(kind: Kind, row: str) -> None:
    assert row == steps(UpstreamError(kind, "it failed"))


@pytest.mark.parametrize(
    ("error", "row"),
    [
        (Incomplete(), "again again next"),
        (broken("HTML"), "again again next"),
        (UpstreamError(Kind.REJECTED, "conflict", status=409), "again again told"),
        (UpstreamError(Kind.REJECTED, "wrong", status=400), "told told told"),
        (UpstreamError(Kind.REJECTED, "wrong", status=422), "told told told"),
        (UpstreamError(Kind.REJECTED, "no such path", status=404), "next next next"),
        (UpstreamError(Kind.REJECTED, "a path of another", status=405), "next next next"),
        (UpstreamError(Kind.RATE_LIMITED, "for today", retry=False), "next next next"),
        (UpstreamError(Kind.FAILED, "it says no use", retry=False), "next next next"),
    ],
    ids=str,
)
def test_what_is_said_besides_the_kind_counts(error: UpstreamError, row: str) -> None:
    assert row == steps(error)


LIMITED: Final = [Kind.RATE_LIMITED, Kind.OVERLOADED]


@pytest.mark.parametrize("kind", LIMITED)
def test_an_upstream_is_never_asked_before_it_says(kind: Kind) -> None:
    again = decide(UpstreamError(kind, "wait", retry_after=LONGEST_WAIT), FRESH)
    assert Step.AGAIN is again.step
    assert again.wait >= LONGEST_WAIT


@pytest.mark.parametrize("kind", LIMITED)
def test_a_longer_wait_cools_the_target_down_and_moves_on(kind: Kind) -> None:
    error = UpstreamError(kind, "wait", retry_after=LONGEST_WAIT + 1)
    assert Decision(Step.NEXT, cools=LONGEST_WAIT + 1) == decide(error, FRESH)


def test_no_target_cools_down_for_as_long_as_it_likes() -> None:
    error = UpstreamError(Kind.RATE_LIMITED, "next year", retry_after=3e7, retry=False)
    assert Decision(Step.NEXT, cools=LONGEST_COOLING) == decide(error, FRESH)


def test_backoff_doubles_and_is_bounded() -> None:
    waits = [decide(broken("HTML"), So(n, 1, False, 1.0)).wait for n in range(1, 8)]
    assert [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0] == waits


@given(
    kind=st.sampled_from(sorted(set(Kind) - FINAL - {Kind.UNREACHABLE}, key=str)),
    failures=st.integers(1, 10),
    jitter=st.floats(0, 1),
)
def test_jitter_is_never_more_than_half_of_the_wait(
    kind: Kind, failures: int, jitter: float
) -> None:
    error = UpstreamError(kind, "it failed")
    longest = decide(error, So(failures, 1, False, 1.0)).wait
    assert longest / 2 <= decide(error, So(failures, 1, False, jitter)).wait <= longest


def test_a_probe_that_was_not_sent_proves_nothing() -> None:
    breakers, route = Breakers[Route](), Route("far", "m")
    breaker = breakers.of(route)
    for _ in range(CONSECUTIVE):
        breaker.failed(0.0, probe=False)
    course = Course([route], 0, breakers, 100.0)
    assert route == course.target(REST)
    course.failed(UpstreamError(Kind.CONFINED, "it is not local"), REST, 0.0)
    assert breaker.begin()  # the next is the probe again


def test_of_those_who_waited_one_probes_a_target_that_may_be_back() -> None:
    breakers = Breakers[Route]()
    route = Route("one", "m")
    first, second = (Course([route], 0, breakers, until=100.0) for _ in range(2))
    assert route == first.target(0.0) == second.target(0.0)
    first.check(0.0)  # nothing has been wrong with it
    for _ in range(CONSECUTIVE):
        breakers.of(route).failed(1.0, probe=False)
    with pytest.raises(Resting) as resting:
        first.check(2.0)
    assert REST - 1.0 == resting.value.retry_after
    first.check(1.0 + REST)
    first.check(1.0 + REST)  # it is the probe itself
    with pytest.raises(Resting):
        second.check(1.0 + REST)
    first.good(2.0 + REST)
    second.check(2.0 + REST)
