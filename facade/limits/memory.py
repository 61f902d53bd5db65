"""The store of one process: O(1) for each bucket, and bounded.

Strategy: a bucket that has drained is one nobody has used, and is dropped. Each new bucket
looks at the two kept longest, drops them if they can go and puts them last if not: so there is
never a sweep. Should one scope (in practice: addresses) have more than MOST buckets in use,
the one kept longest is forgotten. Whoever has so many addresses is not held by a limit on each
of them, and buckets of other scopes are not touched.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from facade.limits.buckets import Bucket, Lease, Said, asked, never_fits, owed, refused

MOST: Final = 100_000  # buckets of one scope, some 400 bytes each
_Levels = OrderedDict[Bucket, int]


class MemoryStore:
    """`clock` gives seconds that never go back.

    Of a bucket in use one number is kept: how much will have drained of it, in grains since the
    clock's beginning, when nothing of it is used any more.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._now = 0  # ms
        self._scopes: defaultdict[str, _Levels] = defaultdict(OrderedDict)

    def take(self, lease: Lease) -> Said:
        now = self._now = max(int(self._clock() * 1000), self._now)
        tokens = lease.tokens
        taken, used, ends = [], [], []
        for bucket in lease.buckets:
            limit = bucket.limit
            levels = self._scopes[bucket.scope]
            drained = now * limit.rate
            end = max(levels.get(bucket, 0), drained)
            most = tokens.most if limit.kind == "tokens" else tokens.requests if limit.rate else 1
            room = limit.capacity + drained - end
            if most * limit.unit > room:
                most = room // limit.unit
                if most < asked(limit, tokens)[0] or never_fits(lease):
                    return self._refused(lease)
            end += most * limit.unit
            taken.append(most)
            used.append(end - drained)
            ends.append((levels, bucket, end))
        lease.taken, lease.used = taken, used
        _keep(ends, now)
        return None

    def settle(self, lease: Lease, tokens: int | None) -> None:
        if lease.ended:
            return
        lease.ended = True
        now = self._now = max(int(self._clock() * 1000), self._now)
        ends = []
        for index, bucket, change in owed(lease, tokens):
            levels = self._scopes[bucket.scope]
            drained = now * bucket.limit.rate
            end = max(max(levels.get(bucket, 0), drained) + change, drained)
            lease.used[index] = end - drained
            if end > drained or bucket in levels:
                ends.append((levels, bucket, end))
        _keep(ends, now)

    async def close(self) -> None:
        """There is nothing to finish."""

    def share(self, bucket: Bucket) -> float:
        """How much of the bucket is used at the moment; more than 1 with debt."""
        self._now = max(int(self._clock() * 1000), self._now)
        return self._used(bucket) / bucket.limit.capacity

    def __len__(self) -> int:
        return sum(map(len, self._scopes.values()))

    def _used(self, bucket: Bucket) -> int:
        """Grains."""
        return max(self._scopes[bucket.scope].get(bucket, 0) - self._now * bucket.limit.rate, 0)

    def _refused(self, lease: Lease) -> Said:
        return never_fits(lease) or refused(lease, list(map(self._used, lease.buckets)))


def _keep(ends: Sequence[tuple[_Levels, Bucket, int]], now: int) -> None:
    """Written once all are read: a bucket that stands there twice was taken once."""
    for levels, bucket, end in ends:
        if bucket not in levels:
            _make_room(levels, now)
        levels[bucket] = end


def _make_room(levels: _Levels, now: int) -> None:
    for _ in range(min(2, len(levels))):
        bucket, end = levels.popitem(last=False)
        if end > now * bucket.limit.rate:
            levels[bucket] = end
    if len(levels) >= MOST:
        levels.popitem(last=False)
