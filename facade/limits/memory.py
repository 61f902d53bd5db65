"""The store of one process: O(1) for each bucket, and bounded.

Strategy: a bucket that has drained is one nobody has used, and is dropped. Each new bucket
looks at the two kept longest, drops them if they can go and puts them last if not: so there is
never a sweep. Should one scope (in practice: addresses) have more than MOST buckets in use,
the one kept longest is forgotten. Whoever has so many addresses is not held by a limit on each
of them, and buckets of other scopes are not touched.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Final

from facade.limits.buckets import Bucket, Lease, Said, decide, drained, never_fits, owed
from facade.limits.grammar import Limit

MOST: Final = 100_000  # buckets of one scope, some 300 bytes each


class _Level:
    """`used` grains at the millisecond `at`."""

    __slots__ = ("at", "limit", "used")

    def __init__(self, limit: Limit, used: int, at: int) -> None:
        self.limit, self.used, self.at = limit, used, at


class MemoryStore:
    """`clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._scopes: defaultdict[str, OrderedDict[str, _Level]] = defaultdict(OrderedDict)

    def take(self, lease: Lease) -> Said:
        if too_large := never_fits(lease):
            return too_large
        now = self._now()
        refusal = decide(lease, [self._used(bucket, now) for bucket in lease.buckets])
        if refusal is None:
            for bucket, used in zip(lease.buckets, lease.used, strict=True):
                self._keep(bucket, used, now)
        return refusal

    def settle(self, lease: Lease, tokens: int) -> None:
        self._end(lease, tokens)

    def refund(self, lease: Lease) -> None:
        self._end(lease, None)

    async def close(self) -> None:
        """There is nothing to finish."""

    def __len__(self) -> int:
        return sum(map(len, self._scopes.values()))

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _end(self, lease: Lease, tokens: int | None) -> None:
        if lease.ended:
            return
        lease.ended = True
        now = self._now()
        changed = [
            (bucket, self._used(bucket, now) + owed(bucket.limit, taken, tokens))
            for bucket, taken in zip(lease.buckets, lease.taken, strict=False)  # none untaken
        ]
        for bucket, used in changed:
            self._keep(bucket, max(used, 0), now)

    def _used(self, bucket: Bucket, now: int) -> int:
        level = self._scopes[bucket.scope].get(bucket.key)
        return drained(level.limit, level.used, now - level.at) if level else 0

    def _keep(self, bucket: Bucket, used: int, now: int) -> None:
        levels = self._scopes[bucket.scope]
        if level := levels.get(bucket.key):
            level.used, level.at = used, now
        elif used:
            _make_room(levels, now)
            levels[bucket.key] = _Level(bucket.limit, used, now)


def _make_room(levels: OrderedDict[str, _Level], now: int) -> None:
    for _ in range(min(2, len(levels))):
        key, level = levels.popitem(last=False)
        if drained(level.limit, level.used, now - level.at):
            levels[key] = level
    if len(levels) >= MOST:
        levels.popitem(last=False)
