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
from msgspec.structs import force_setattr

from adapters import rate_limits
from facade.errors import BadRequest, FacadeError, RateLimited
from facade.limits.grammar import Limit
from facade.waits import Wait

PLACE_WAIT: Final = 1000  # ms told where a place is lacking: nobody knows when one comes back


class Bucket(Struct, frozen=True):
    """`scope` says whose the limit is ("key", "model", "upstream", "ip"), `name` which one's."""

    scope: str
    name: str
    limit: Limit
    key: str = ""  # in the stores; made here

    def __post_init__(self) -> None:
        force_setattr(self, "key", f"{self.scope}:{self.name}:{self.limit.text}")


class Tokens(Struct, frozen=True):
    """The tokens a request reserves: `most`, but where less is left, from `least` on what is left.

    A bucket that can never hold `certain` will not do; one that is smaller than `least` is
    taken whole. `requests`: how many it is.
    """

    certain: int = 0
    least: int = 1
    most: int = 1
    requests: int = 1


NO_TOKENS: Final = Tokens()


class Lease:
    """What one request takes, before and after it did. `taken` and `used` go with `buckets`.

    Made first and given to a store's `take`, so that whoever leaves while it is being taken
    can refund it: it is his from the beginning.
    """

    __slots__ = ("buckets", "ended", "id", "taken", "tokens", "used")

    def __init__(self, buckets: Sequence[Bucket], tokens: Tokens = NO_TOKENS) -> None:
        self.buckets = buckets
        self.tokens = tokens
        self.taken: Sequence[int] = ()  # requests, tokens or places; empty until granted
        self.used: Sequence[int] = ()  # grains, right after
        self.ended = False
        self.id = ""  # where a store needs one

    def limits(self) -> rate_limits.RateLimits:
        """For the headers of the answer."""
        return standing(self.buckets, self.used)

    def settled(self, tokens: int | None) -> rate_limits.RateLimits:
        """The same, were it to end now with so many tokens; None: with a refund."""
        pairs = zip(self.buckets, self.taken, self.used, strict=True)
        after = [max(used + owed(it.limit, taken, tokens), 0) for it, taken, used in pairs]
        return standing(self.buckets, after)


class Refusal(Struct, frozen=True):
    """`bucket` is the one that takes longest to have what is lacking, in `wait` seconds."""

    bucket: Bucket
    wait: float
    limits: rate_limits.RateLimits

    def error(self) -> FacadeError:
        """The 429 that names limit, scope and window."""
        bucket, limit = self.bucket, self.bucket.limit
        lacking = (
            "all its places are taken" if not limit.period else f"no {limit.kind} are left now"
        )
        return RateLimited(
            f"{bucket.scope} {bucket.name!r} is limited to {limit.text}, and {lacking}; "
            f"try again in {self.wait:g} s",
            retry_after=self.wait,
        )


class NeverFits(Struct, frozen=True):
    """The request is certain to need `tokens`, and the full bucket holds less."""

    bucket: Bucket
    tokens: int

    @property
    def limits(self) -> rate_limits.RateLimits:
        """What is left is not asked for: no time would help."""
        return rate_limits.RateLimits(tokens=rate_limits.Limit(self.bucket.limit.amount))

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

    def settle(self, lease: Lease, tokens: int) -> None:
        """End the lease: so many tokens were used in all. Harmless on one that has ended."""
        ...

    def refund(self, lease: Lease) -> None:
        """End the lease as if it had never been. Harmless on one that has ended."""
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
    """The least and the most to take of a bucket; never nothing, or an empty one would do."""
    if limit.kind == "concurrent":
        return 1, 1
    if limit.kind == "requests":
        requests = min(tokens.requests, limit.amount)
        return requests, requests
    least = min(max(tokens.least, 1), limit.amount)
    return least, max(least, tokens.most)


def drained(limit: Limit, used: int, passed: int) -> int:
    """What is used, so many milliseconds later."""
    return max(used - passed * limit.rate, 0) if passed > 0 else used


def wait(limit: Limit, used: int, least: int) -> int:
    """Milliseconds until there is room for `least`; exact but for places."""
    lacking = used + least * limit.unit - limit.capacity
    if lacking <= 0:
        return 0
    return -(-lacking // limit.rate) if limit.rate else PLACE_WAIT


def decide(lease: Lease, used: Sequence[int]) -> Refusal | None:
    """Grant the lease or refuse it, of buckets of which so much is used."""
    taken, after = [], []
    longest, lacking = 0, None
    for bucket, grains in zip(lease.buckets, used, strict=True):
        limit = bucket.limit
        least, most = asked(limit, lease.tokens)
        milliseconds = wait(limit, grains, least)
        if milliseconds > longest:
            longest, lacking = milliseconds, bucket
        amount = min(most, (limit.capacity - grains) // limit.unit)
        taken.append(amount)
        after.append(grains + amount * limit.unit)
    if lacking:
        return Refusal(lacking, longest / 1000, standing(lease.buckets, used))
    lease.taken, lease.used = taken, after
    return None


def owed(limit: Limit, taken: int, tokens: int | None) -> int:
    """Grains to add to what is used at the end of a lease; tokens None: all is refunded."""
    if tokens is None or limit.kind == "concurrent":
        return -taken * limit.unit
    return (tokens - taken) * limit.unit if limit.kind == "tokens" else 0


def standing(buckets: Sequence[Bucket], used: Sequence[int]) -> rate_limits.RateLimits:
    """Of each kind the limit of which the smallest part is left. A reset fills it whole."""
    tightest: dict[str, tuple[float, rate_limits.Limit]] = {}
    for bucket, grains in zip(buckets, used, strict=True):
        limit = bucket.limit
        if not limit.rate:
            continue
        left = max((limit.capacity - grains) // limit.unit, 0)
        part = left / limit.amount
        if limit.kind not in tightest or part < tightest[limit.kind][0]:
            reset = -(-grains // limit.rate) / 1000
            tightest[limit.kind] = part, rate_limits.Limit(limit.amount, left, reset)
    requests, tokens = (tightest.get(kind, (0, None))[1] for kind in ("requests", "tokens"))
    return rate_limits.RateLimits(requests, tokens)
