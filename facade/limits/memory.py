"""The store of one process: O(1) for each bucket, and bounded.

Strategy: a bucket that has drained is one nobody has used, and is dropped. Each new bucket
looks at the two kept longest, drops them if they can go and puts them last if not: so there is
never a sweep. Should one scope (in practice: addresses) have more than MOST buckets in use,
the one kept longest is forgotten. Whoever has so many addresses is not held by a limit on each
of them, and buckets of other scopes are not touched.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from facade.limits.buckets import Bucket, Lease, Said, decide, never_fits, owed

MOST: Final = 100_000  # buckets of one scope, some 300 bytes each


class _Level:
    """`used` grains at the millisecond `at`, of which `rate` drain each millisecond."""

    __slots__ = ("at", "rate", "used")

    def __init__(self, rate: int, used: int, at: int) -> None:
        self.rate, self.used, self.at = rate, used, at

    def used_at(self, now: int) -> int:
        if now <= self.at:
            return self.used
        return max(self.used - (now - self.at) * self.rate, 0)


class MemoryStore:
    """`clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._scopes: defaultdict[str, OrderedDict[str, _Level]] = defaultdict(OrderedDict)

    def take(self, lease: Lease) -> Said:
        if lease.tokens.certain and (too_large := never_fits(lease)):
            return too_large
        now = int(self._clock() * 1000)
        levels = [self._scopes[bucket.scope].get(bucket.key) for bucket in lease.buckets]
        refusal = decide(lease, [level.used_at(now) if level else 0 for level in levels])
        if refusal is None:
            self._keep(zip(lease.buckets, levels, lease.used, strict=True), now)
        return refusal

    def settle(self, lease: Lease, tokens: int) -> None:
        self._end(lease, tokens)

    def refund(self, lease: Lease) -> None:
        self._end(lease, None)

    async def close(self) -> None:
        """There is nothing to finish."""

    def share(self, bucket: Bucket) -> float:
        """How much of the bucket is used at the moment; more than 1 with debt."""
        level = self._scopes[bucket.scope].get(bucket.key)
        return level.used_at(int(self._clock() * 1000)) / bucket.limit.capacity if level else 0.0

    def __len__(self) -> int:
        return sum(map(len, self._scopes.values()))

    def _end(self, lease: Lease, tokens: int | None) -> None:
        if lease.ended:
            return
        lease.ended = True
        now = int(self._clock() * 1000)
        changed = []
        for index, taken in enumerate(lease.taken):
            bucket = lease.buckets[index]
            if change := owed(bucket.limit, taken, tokens):
                level = self._scopes[bucket.scope].get(bucket.key)
                used = max((level.used_at(now) if level else 0) + change, 0)
                lease.used[index] = used
                changed.append((bucket, level, used))
        self._keep(changed, now)

    def _keep(self, changed: Iterable[tuple[Bucket, _Level | None, int]], now: int) -> None:
        """What had drained is made last: that drops what has drained, and all others are kept."""
        made = []
        for bucket, level, used in changed:
            if level:
                level.used, level.at = used, now
            elif used:
                made.append((bucket, used))
        for bucket, used in made:
            levels = self._scopes[bucket.scope]
            _make_room(levels, now)
            levels[bucket.key] = _Level(bucket.limit.rate, used, now)


def _make_room(levels: OrderedDict[str, _Level], now: int) -> None:
    for _ in range(min(2, len(levels))):
        key, level = levels.popitem(last=False)
        if level.used_at(now):
            levels[key] = level
    if len(levels) >= MOST:
        levels.popitem(last=False)
