"""The store in memory is bounded, whoever asks."""

from __future__ import annotations

import pytest

from facade.limits import memory
from facade.limits.buckets import Bucket, Lease, Refusal
from facade.limits.grammar import parse
from facade.limits.memory import MemoryStore


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def address(number: int, limit: str) -> Bucket:
    return Bucket("ip", f"2001:db8::{number:x}", parse(limit))


def test_addresses_that_went_do_not_fill_the_memory_litellm_12685() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for number in range(20_000):
        clock.now += 0.01  # at any time some 100 buckets are in use
        assert store.take(Lease((address(number, "60/minute"),))) is None
        assert len(store) <= 300


def test_long_periods_do_not_keep_short_ones_from_going() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for number in range(50):
        store.take(Lease((address(number, "1/day"),)))
    for number in range(5000):
        clock.now += 0.01
        store.take(Lease((address(number, "60/minute"),)))
        assert len(store) <= 50 + 300


def test_a_flood_of_addresses_forgets_addresses_and_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "MOST", 100)
    store = MemoryStore(Clock())
    key = Bucket("key", "agents", parse("1/day"))
    assert store.take(Lease((key,))) is None
    for number in range(1000):
        assert store.take(Lease((address(number, "1/day"),))) is None
        assert len(store) <= 101
    assert isinstance(store.take(Lease((key,))), Refusal)
    assert isinstance(store.take(Lease((address(999, "1/day"),))), Refusal)


def test_a_bucket_that_was_forgotten_and_is_given_back_takes_nobodys_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "MOST", 2)
    store = MemoryStore(Clock())
    leases = [Lease((address(number, "1/day"),)) for number in range(3)]
    assert [None] * 3 == [store.take(lease) for lease in leases]
    (forgotten,) = (each for each in leases if store.share(each.buckets[0]) == 0)
    store.settle(forgotten, None)
    assert 2 == sum(store.share(lease.buckets[0]) for lease in leases)


def test_debt_of_a_bucket_that_was_dropped_meanwhile_is_kept() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    bucket = Bucket("key", "agents", parse("100 tokens/minute"))
    lease = Lease((bucket,))
    store.take(lease)
    clock.now = 120.0
    store.take(Lease((Bucket("key", "other", parse("1/day")),)))
    store.settle(lease, 200)
    assert isinstance(store.take(Lease((bucket,))), Refusal)


def test_a_bucket_that_has_drained_is_not_dropped_while_it_is_taken_with_a_new_one() -> None:
    old, new = Bucket("key", "a", parse("1/second")), Bucket("key", "b", parse("1/second"))
    now = 0.0
    store = MemoryStore(lambda: now)
    assert store.take(Lease((old,))) is None
    now = 5.0
    assert store.take(Lease((old, new))) is None
    assert isinstance(store.take(Lease((old,))), Refusal)
