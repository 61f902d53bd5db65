"""Any interleaving of taking, settling, refunding and lapsing, against a simple model.

The model counts in fractions of tokens. After each step the store must say what it says: who
is granted, how much is used then, who is refused, by which limit and for how long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from fractions import Fraction
from math import ceil, floor
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from facade.limits.buckets import PLACE_WAIT, Bucket, Lease, NeverFits, Refusal, Tokens
from facade.limits.grammar import parse
from tests.facade.limits.subjects import InMemory, Subject, shared_subject, take

T = TypeVar("T")

BUCKETS = tuple(
    Bucket(scope, "x", parse(limit))
    for scope, limit in (
        ("key", "7/second"),
        ("key", "1000 tokens/minute"),
        ("key", "2 concurrent"),
        ("ip", "3/5 seconds"),
        ("model", "977 tokens/hour"),
        ("upstream", "3 concurrent"),
    )
)


class Model:
    """One bucket: `used` (amounts), or the moment at which each lease's place lapses."""

    def __init__(self, bucket: Bucket, lapse: int | None) -> None:
        self.limit = bucket.limit
        self.lapse = lapse
        self.used = Fraction(0)
        self.places: dict[Lease, float] = {}
        self.holders: set[Lease] = set()  # whose place may have lapsed

    def pass_to(self, was: int, now: int) -> None:
        self.places = {lease: end for lease, end in self.places.items() if end > now}
        if self.limit.period:
            back = Fraction(self.limit.amount * (now - was), self.limit.period * 1000)
            self.used = max(self.used - back, Fraction(0))

    def in_use(self) -> Fraction:
        return self.used if self.limit.period else Fraction(len(self.places))

    def wait(self, least: int) -> int:
        lacking = self.in_use() + least - self.limit.amount
        if lacking <= 0:
            return 0
        if not self.limit.period:
            return PLACE_WAIT
        return ceil(lacking * self.limit.period * 1000 / self.limit.amount)

    def take(self, lease: Lease, amount: int, now: int) -> None:
        assert amount <= self.limit.amount - self.in_use(), "overshoot"
        if self.limit.period:
            self.used += amount
        else:
            self.holders.add(lease)
            self.hold(lease, now)

    def renew(self, now: int) -> None:
        for lease in self.holders:
            self.hold(lease, now)

    def hold(self, lease: Lease, now: int) -> None:
        self.places[lease] = float("inf") if self.lapse is None else now + self.lapse

    def give_back(self, lease: Lease, amount: int) -> None:
        self.places.pop(lease, None)
        self.holders.discard(lease)
        self.used = max(self.used + amount, Fraction(0))


class Interleavings(RuleBasedStateMachine):
    """On the store in memory; `start` says otherwise."""

    leases = Bundle("leases")
    ended = Bundle("ended")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.subject = self.run(self.start())
        self.now = 0
        self.told = 0
        self.models = {bucket: Model(bucket, self.subject.lapse) for bucket in BUCKETS}

    async def start(self) -> Subject:
        return InMemory()

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    @rule(
        target=leases,
        chosen=st.lists(st.sampled_from(BUCKETS), min_size=1, max_size=6, unique=True),
        least=st.integers(0, 1200),
        more=st.integers(0, 500),
        certain=st.sampled_from([0, 0, 0, 978, 1001]),
    )
    def take(self, chosen: list[Bucket], least: int, more: int, certain: int) -> Any:  # noqa: ANN401
        least = max(least, certain, 1)
        lease = Lease(chosen, Tokens(certain, least, least + more))
        said = self.run(take(self.subject, lease))
        tokens = [bucket for bucket in chosen if bucket.limit.kind == "tokens"]
        if isinstance(said, NeverFits):
            assert said.bucket in tokens
            assert certain > said.bucket.limit.amount
            return multiple()
        assert all(certain <= bucket.limit.amount for bucket in tokens)
        needs = [
            min(max(least, 1), bucket.limit.amount) if bucket in tokens else 1 for bucket in chosen
        ]
        waits = [self.models[b].wait(need) for b, need in zip(chosen, needs, strict=True)]
        self.told = max(waits)
        if isinstance(said, Refusal):
            assert (self.told, chosen[waits.index(self.told)]) == (
                round(said.wait * 1000),
                said.bucket,
            )
            assert self.told
            return multiple()
        assert said is None
        assert not self.told
        for bucket, need, amount in zip(chosen, needs, lease.taken, strict=True):
            model = self.models[bucket]
            left = floor(bucket.limit.amount - model.in_use())
            assert amount == (min(max(least + more, need), left) if bucket in tokens else 1)
            model.take(lease, amount, self.now)
        self.check(chosen, lease.used)
        return lease

    def check(self, chosen: list[Bucket], used: Any) -> None:  # noqa: ANN401 - either store's
        assert [self.models[b].in_use() * b.limit.unit for b in chosen] == [*used]

    @rule(target=ended, lease=consumes(leases), used=st.integers(0, 3000))
    def settle(self, lease: Lease, used: int) -> Lease:
        self.subject.store.settle(lease, used)
        for bucket, amount in zip(lease.buckets, lease.taken, strict=True):
            beyond = used - amount if bucket.limit.kind == "tokens" else 0
            self.models[bucket].give_back(lease, beyond)
        return lease

    @rule(target=ended, lease=consumes(leases))
    def refund(self, lease: Lease) -> Lease:
        self.subject.store.settle(lease, None)
        for bucket, amount in zip(lease.buckets, lease.taken, strict=True):
            self.models[bucket].give_back(lease, -amount)
        return lease

    @rule(lease=ended, used=st.none() | st.integers(0, 3000))
    def end_again(self, lease: Lease, used: int | None) -> None:
        if used is None:
            self.subject.store.settle(lease, None)
        else:
            self.subject.store.settle(lease, used)

    @rule(milliseconds=st.integers(0, 3000) | st.sampled_from([30_000, 3_600_000]))
    def wait(self, milliseconds: int) -> None:
        self.run(self.subject.written())
        for model in self.models.values():
            model.pass_to(self.now, self.now + milliseconds)
        self.now += milliseconds
        self.run(self.subject.at(self.now))

    @rule()
    def wait_as_told(self) -> None:
        self.wait(self.told)

    @rule()
    def renew(self) -> None:
        self.run(self.subject.written())
        self.run(self.subject.renew())
        for model in self.models.values():
            model.renew(self.now)

    @invariant()
    def nothing_is_negative(self) -> None:
        assert all(0 <= model.in_use() for model in self.models.values())

    def teardown(self) -> None:
        for model in self.models.values():
            for lease in [*model.holders]:
                self.subject.store.settle(lease, None)
        self.wait(10**10)
        lease = Lease(BUCKETS)
        assert self.run(take(self.subject, lease)) is None
        assert [bucket.limit.unit for bucket in BUCKETS] == [*lease.used], "something was left"
        self.run(self.subject.close())
        self.runner.close()


def test_any_interleaving_in_memory() -> None:
    run_state_machine_as_test(
        Interleavings, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )


@pytest.mark.store
def test_any_interleaving_in_the_shared_store(store_url: str) -> None:
    class InShared(Interleavings):
        async def start(self) -> Subject:
            return await shared_subject(store_url)

    run_state_machine_as_test(
        InShared, settings=settings(max_examples=50, stateful_step_count=40, deadline=None)
    )
