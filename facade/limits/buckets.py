"""Buckets, what a request takes of them, and the port of the stores that keep them.

Strategy: a bucket is kept as what is used of it, in grains, which drains evenly; what drained
to nothing need not be kept. All buckets of a request are taken in one step or none is. What is
used beyond a reserve is debt: more is used than the bucket holds, and nobody is admitted until
that has drained. A place ("4 concurrent") is a grain that does not drain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from msgspec import Struct

from adapters.rate_limits import Limit as Told
from adapters.rate_limits import RateLimits
from facade.errors import BadRequest, FacadeError, RateLimited
from facade.limits.grammar import Limit
from facade.waits import Wait

PLACE_WAIT: Final = 1000  # ms told where a place is lacking: nobody knows when one comes back


class Bucket(Struct, frozen=True, cache_hash=True):
    """`scope` says whose the limit is ("key", "model", "upstream", "ip"), `name` which one's."""

    scope: str
    name: str
    limit: Limit

    @property
    def key(self) -> str:
        """In a store that processes share."""
        return f"{self.scope}:{self.name}:{self.limit.text}"


class Tokens(Struct, frozen=True):
    """The tokens a request reserves: `most`, but where less is left, from `least` on what is left.

    A bucket that can never hold `certain` will not do; one that is smaller than `least` is
    taken whole. `least` is never less than `certain`, and never nothing: an empty bucket would
    do. `requests`: how many it is.
    """

    certain: int = 0
    least: int = 1
    most: int = 1
    requests: int = 1


NO_TOKENS: Final = Tokens()


class Lease(Struct, eq=False):
    """What one request takes, before and after it did. `taken` and `used` go with `buckets`.

    Made first and given to a store's `take`, so that whoever leaves while it is being taken
    can refund it: it is his from the beginning. `taken`: requests, tokens or places; empty until
    granted. `used`: grains, right after; or before, where it was refused.
    """

    buckets: Sequence[Bucket]
    tokens: Tokens = NO_TOKENS
    taken: Sequence[int] = ()
    used: list[int] = []
    ended: bool = False
    id: str = ""  # where a store needs one


class Refusal(Struct, frozen=True):
    """`bucket` is the one that takes longest to have what is lacking, in `wait` seconds."""

    bucket: Bucket
    wait: float

    def error(self) -> FacadeError:
        """The 429 that names limit, scope and window."""
        bucket, limit = self.bucket, self.bucket.limit
        lacking = (
            "all its places are taken" if not limit.period else f"no {limit.kind} are left now"
        )
        return RateLimited(
            f"{bucket.scope} {bucket.name!r} is limited to {limit.text}, and {lacking}; "
            f"try again in {self.wait:.12g} s",
            retry_after=self.wait,
        )


class NeverFits(Struct, frozen=True):
    """The request is certain to need `tokens`, and the full bucket holds less."""

    bucket: Bucket
    tokens: int

    def error(self) -> FacadeError:
        """A 400: an eternal 429 would be tried again and again."""
        bucket = self.bucket
        return BadRequest(
            f"this request needs at least {self.tokens} tokens, and {bucket.scope} "
            f"{bucket.name!r} is limited to {bucket.limit.text}: send a shorter prompt or a "
            "smaller max_tokens",
            code="request_larger_than_limit",
        )


Said = Refusal | NeverFits | None


class Store(Protocol):
    """Where buckets are kept. No verb but `take` waits, and none fails."""

    def take(self, lease: Lease) -> Said | Wait[Said]:
        """Take all buckets of the lease in one step; None if it was granted.

        A Wait raises LimitsUnavailable where the store does not answer.
        """
        ...

    def settle(self, lease: Lease, tokens: int | None) -> None:
        """End the lease: so many tokens were used in all. None: as if it had never been.

        Harmless on one that has ended.
        """
        ...

    async def close(self) -> None:
        """Finish what is being written."""
        ...


def never_fits(lease: Lease) -> NeverFits | None:
    """What no waiting would help."""
    certain = lease.tokens.certain
    for bucket in lease.buckets:
        if bucket.limit.kind == "tokens" and certain > bucket.limit.amount:
            return NeverFits(bucket, certain)
    return None


def asked(limit: Limit, tokens: Tokens) -> tuple[int, int]:
    """The least and the most to take of a bucket; a bucket that is smaller is taken whole."""
    if limit.kind == "tokens":
        return min(tokens.least, limit.amount), tokens.most
    requests = min(tokens.requests, limit.amount) if limit.kind == "requests" else 1
    return requests, requests


def wait(limit: Limit, used: int, least: int) -> int:
    """Milliseconds until there is room for `least`; exact but for places."""
    lacking = used + least * limit.unit - limit.capacity
    if lacking <= 0:
        return 0
    return -(-lacking // limit.rate) if limit.rate else PLACE_WAIT


def refused(lease: Lease, used: list[int]) -> Refusal:
    """By the bucket that takes longest, the first of several; so much is used of them."""
    waits = [
        wait(bucket.limit, grains, asked(bucket.limit, lease.tokens)[0])
        for bucket, grains in zip(lease.buckets, used, strict=True)
    ]
    longest = max(waits)
    lacking = lease.buckets[waits.index(longest)]
    lease.used = used
    return Refusal(lacking, longest / 1000)


def owed(lease: Lease, tokens: int | None) -> list[tuple[int, Bucket, int]]:
    """Which of the buckets change at the end of a lease, and by how many grains; see `settle`."""
    changes = []
    for index, taken in enumerate(lease.taken):
        bucket = lease.buckets[index]
        limit = bucket.limit
        if tokens is None or not limit.rate:
            changes.append((index, bucket, -taken * limit.unit))
        elif limit.kind == "tokens":
            changes.append((index, bucket, (tokens - taken) * limit.unit))
    return changes


def standing(buckets: Sequence[Bucket], used: Sequence[int]) -> RateLimits:
    """Of each kind the limit of which the smallest part is left. A reset fills it whole.

    What is not known to be used is not told.
    """
    tightest: dict[str, tuple[Limit, int]] = {}
    for bucket, grains in zip(buckets, used, strict=False):
        limit = bucket.limit
        known = tightest.get(limit.kind)
        if known is None or grains * known[0].capacity > known[1] * limit.capacity:
            tightest[limit.kind] = limit, grains
    return RateLimits(_told(tightest.get("requests")), _told(tightest.get("tokens")))


def _told(tightest: tuple[Limit, int] | None) -> Told | None:
    if tightest is None:
        return None
    limit, grains = tightest
    left = (limit.capacity - grains) // limit.unit
    return Told(limit.amount, max(left, 0), -(-grains // limit.rate) / 1000)
