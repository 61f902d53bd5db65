"""The one suite over both stores: what a request takes, is refused, and gives back."""

from __future__ import annotations

import pytest

from facade.errors import BadRequest, RateLimited
from facade.limits.buckets import Bucket, Lease, NeverFits, Refusal, Tokens, standing
from facade.limits.estimates import Estimate, Size
from facade.limits.grammar import parse
from tests.facade.limits.subjects import Subject, take


def of(limit: str, scope: str = "key", name: str = "agents") -> Bucket:
    return Bucket(scope, name, parse(limit))


def reserve(amount: int) -> Tokens:
    return Tokens(amount, amount, amount)


async def granted(subject: Subject, *buckets: Bucket, tokens: int = 1) -> Lease:
    lease = Lease(buckets, reserve(tokens))
    assert await take(subject, lease) is None
    return lease


async def refused(subject: Subject, *buckets: Bucket, tokens: int = 1) -> Refusal:
    said = await take(subject, Lease(buckets, reserve(tokens)))
    assert isinstance(said, Refusal)
    return said


async def test_a_request_without_buckets_is_granted(subject: Subject) -> None:
    lease = await granted(subject)
    subject.store.settle(lease, 5)


@pytest.mark.parametrize("limit", ["7/minute", "3/second", "11/5 minutes", "9/day"])
async def test_a_bucket_admits_its_amount_at_once_and_then_exactly_evenly(
    subject: Subject, limit: str
) -> None:
    bucket = of(limit)
    for _ in range(bucket.limit.amount):
        await granted(subject, bucket)
    now = 0
    for _ in range(3):
        wait = round((await refused(subject, bucket)).wait * 1000)
        await subject.at(now + wait - 1)
        assert 0.001 == (await refused(subject, bucket)).wait
        now += wait
        await subject.at(now)
        await granted(subject, bucket)


async def test_a_refused_request_takes_nothing_of_any_bucket(subject: Subject) -> None:
    """Lesson: a check of one limit after another leaks what the first had taken."""
    scarce, ample = of("1/minute"), of("5/minute", "ip", "192.0.2.1")
    places = of("2 concurrent")
    await granted(subject, scarce)
    for _ in range(3):
        await refused(subject, ample, places, scarce)
    lease = await granted(subject, ample, places)
    assert [5 - 1, 1] == [5 - lease.used[0] // ample.limit.unit, lease.used[1]]


async def test_the_refusal_is_by_the_limit_that_takes_longest(subject: Subject) -> None:
    second, hour = of("1/second"), of("1/hour", "model", "assistant")
    await granted(subject, second, hour)
    refusal = await refused(subject, second, hour)
    assert (hour, 3600.0) == (refusal.bucket, refusal.wait)
    error = refusal.error()
    assert isinstance(error, RateLimited)
    assert "model 'assistant' is limited to 1/hour, and no requests are left now" in error.message
    assert ("3600", "3600000") == (
        error.headers()["retry-after"],
        error.headers()["retry-after-ms"],
    )
    assert "false" == error.headers()["x-should-retry"]


async def test_requests_and_tokens_have_buckets_of_their_own_litellm_24677(
    subject: Subject,
) -> None:
    requests, tokens = of("2/minute"), of("100 tokens/hour")
    await granted(subject, requests, tokens, tokens=60)
    assert tokens == (await refused(subject, requests, tokens, tokens=60)).bucket
    await granted(subject, requests, tokens, tokens=40)
    await subject.at(30_000)
    await granted(subject, requests)


async def test_scopes_of_one_name_are_apart(subject: Subject) -> None:
    for scope in ("key", "model", "upstream", "ip"):
        await granted(subject, of("1/hour", scope))
    assert "model" == (await refused(subject, of("1/hour", "model"))).bucket.scope


async def test_a_limit_that_is_given_twice_counts_once(subject: Subject) -> None:
    lease = await granted(subject, of("2/hour"), of("2 / hour"))
    await granted(subject, of("2/hour"))
    subject.store.settle(lease, None)
    await granted(subject, of("2/hour"))
    await refused(subject, of("2/hour"))


async def test_what_was_not_used_of_a_reserve_comes_back(subject: Subject) -> None:
    bucket = of("100 tokens/hour")
    lease = await granted(subject, bucket, tokens=90)
    subject.store.settle(lease, 30)
    assert 36.0 == (await refused(subject, bucket, tokens=71)).wait
    await granted(subject, bucket, tokens=70)


async def test_what_is_used_beyond_the_reserve_is_debt_litellm_18730(subject: Subject) -> None:
    bucket = of("100 tokens/100 seconds")
    lease = await granted(subject, bucket, tokens=10)
    subject.store.settle(lease, 250)
    refusal = await refused(subject, bucket)
    assert 151.0 == refusal.wait
    await subject.at(150_999)
    assert 0.001 == (await refused(subject, bucket)).wait
    await subject.at(151_000)
    await granted(subject, bucket)


async def test_the_largest_debt_is_kept(subject: Subject) -> None:
    bucket = of("1 tokens/year")
    lease = await granted(subject, bucket)
    subject.store.settle(lease, 10**8)
    refusal = await refused(subject, bucket)
    assert bucket.limit.period * 10**8 == refusal.wait


@pytest.mark.parametrize("limit", ["1/hour", "50 tokens/hour", "1 concurrent"])
async def test_a_refund_is_whole_and_a_second_one_is_harmless_litellm_20256(
    subject: Subject, limit: str
) -> None:
    bucket = of(limit)
    lease = await granted(subject, bucket, tokens=50)
    await refused(subject, bucket, tokens=50)
    subject.store.settle(lease, None)
    other = await granted(subject, bucket, tokens=50)
    subject.store.settle(lease, None)
    subject.store.settle(lease, 0)
    await refused(subject, bucket, tokens=50)
    subject.store.settle(other, None)
    await granted(subject, bucket, tokens=50)


async def test_a_settled_lease_gives_its_place_back_and_keeps_its_request(
    subject: Subject,
) -> None:
    places, requests = of("1 concurrent"), of("2/hour")
    lease = await granted(subject, places, requests)
    refusal = await refused(subject, places, requests)
    assert (places, 1.0) == (refusal.bucket, refusal.wait)
    assert "all its places are taken" in refusal.error().message
    subject.store.settle(lease, 0)
    subject.store.settle(lease, None)
    await granted(subject, places, requests)
    assert requests == (await refused(subject, requests)).bucket


async def test_a_request_larger_than_its_bucket_is_a_400_and_takes_nothing(
    subject: Subject,
) -> None:
    requests, tokens = of("1/hour"), of("1000 tokens/minute")
    said = await take(subject, Lease((requests, tokens), Tokens(1001, 1005, 1005)))
    assert NeverFits(tokens, 1001) == said
    error = said.error()
    assert isinstance(error, BadRequest)
    assert "needs at least 1001 tokens, and key 'agents' is limited to 1000 tokens" in error.message
    await granted(subject, requests, tokens, tokens=1000)


async def test_an_estimate_larger_than_the_bucket_takes_it_whole(subject: Subject) -> None:
    bucket = of("1000 tokens/minute")
    lease = Lease((bucket,), Tokens(400, 1200, 9000))
    assert await take(subject, lease) is None
    assert [1000] == [*lease.taken]


async def test_a_learned_reserve_shrinks_to_what_is_left_tensorzero_3648(
    subject: Subject,
) -> None:
    """A floor for reserves made the first request of a small key fail."""
    bucket = of("100 tokens/hour")
    taken: list[int] = []
    for _ in range(2):
        lease = Lease((bucket,), Tokens(1, 10, 80))
        assert await take(subject, lease) is None
        taken += lease.taken
    assert [80, 20] == taken
    said = await take(subject, Lease((bucket,), Tokens(1, 10, 80)))
    assert isinstance(said, Refusal)
    assert 360.0 == said.wait


async def test_an_empty_bucket_admits_not_even_a_request_without_tokens(
    subject: Subject,
) -> None:
    bucket = of("10 tokens/hour")
    await granted(subject, bucket, tokens=10)
    nothing = Size(Estimate(0, 0), answer=0).reserve(0, 1)
    refusal = await take(subject, Lease((bucket,), nothing))
    assert isinstance(refusal, Refusal)
    assert 360.0 == refusal.wait


async def test_the_headers_tell_the_tightest_bucket_of_each_kind(subject: Subject) -> None:
    buckets = (
        of("10/minute"), of("100/hour", "ip"), of("1000 tokens/minute"), of("4 concurrent"),
    )  # fmt: skip
    lease = await granted(subject, *buckets, tokens=250)
    assert {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "6s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "750",
        "x-ratelimit-reset-tokens": "15s",
    } == standing(lease.buckets, lease.used).headers()


async def test_time_that_goes_back_gives_nothing_and_takes_nothing(subject: Subject) -> None:
    bucket = of("2/minute")
    await subject.at(60_000)
    await granted(subject, bucket)
    await subject.at(0)
    await granted(subject, bucket)
    await refused(subject, bucket)


@pytest.mark.parametrize("amount", [2**20, 2**40])
async def test_large_amounts_are_counted_exactly(subject: Subject, amount: int) -> None:
    bucket = of(f"{amount} tokens/1024 seconds")
    await granted(subject, bucket, tokens=amount - 1)
    await granted(subject, bucket)
    await refused(subject, bucket)


def test_a_long_wait_is_told_in_seconds_without_an_exponent() -> None:
    said = Refusal(of("1/year"), 186_624_000.25).error().message
    assert said.endswith("try again in 186624000.25 s")
