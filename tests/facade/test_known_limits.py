"""What is remembered of the limits of an upstream's models, for how long, of how many."""

from __future__ import annotations

from adapters.rate_limits import Limit, RateLimits
from facade.known_limits import KnownLimits


def told(remaining: int) -> RateLimits:
    return RateLimits(Limit(100, remaining, 30.0), None)


def test_each_model_has_its_own_and_the_newest_counts() -> None:
    known = KnownLimits()
    known.note("a", told(5), 10.0)
    known.note("b", told(9), 10.0)
    known.note("a", told(4), 11.0)
    assert RateLimits(Limit(100, 4, 25.0), None) == known.of("a", 16.0)
    assert RateLimits(Limit(100, 9, 24.0), None) == known.of("b", 16.0)
    assert known.of("c", 16.0) is None


def test_what_is_long_past_is_not_known() -> None:
    known = KnownLimits()
    known.note("a", told(0), 10.0)
    assert RateLimits(Limit(100, 0, 0.0), None) == known.of("a", 60.0)
    assert known.of("a", 71.0) is None


def test_of_very_many_models_those_heard_of_last_are_known() -> None:
    known = KnownLimits()
    for number in range(256):
        known.note(f"m{number}", told(number), 0.0)
    known.note("m0", told(0), 0.0)
    known.note("one more", told(1), 0.0)
    assert known.of("m1", 0.0) is None
    assert [told(0), told(2), told(1)] == [known.of(m, 0.0) for m in ("m0", "m2", "one more")]
