"""500 requests at once on small buckets: none is let through that an empty bucket refuses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from facade.limits.buckets import Bucket, Lease, Refusal, Store, Tokens
from facade.limits.grammar import parse
from facade.limits.memory import MemoryStore
from facade.limits.shared import SharedStore, connected
from facade.waits import result_of
from tests.facade.limits.subjects import shared_subject
from tests.parts import ROOT

# What comes back while a test runs is less than one request or one reserve.
SMALL = [("20/day", 1), ("1000 tokens/day", 50), ("20 concurrent", 1)]


@pytest.fixture(params=["memory", pytest.param("shared", marks=pytest.mark.store)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """By the clocks they have in production."""
    if request.param == "memory":
        yield MemoryStore(time.monotonic)
        return
    async with connected(request.getfixturevalue("store_url")) as client:
        await client.flushall()
        store = SharedStore(client)
        yield store
        await store.close()


async def takes(store: Store, bucket: Bucket, tokens: int) -> list[Lease]:
    """The leases that were granted, of 500 at once."""
    leases = [Lease((bucket,), Tokens(1, tokens, tokens)) for _ in range(500)]

    async def take(lease: Lease) -> Lease | None:
        return lease if await result_of(store.take(lease)) is None else None

    return [lease for lease in await asyncio.gather(*map(take, leases)) if lease]


@pytest.mark.parametrize(("limit", "tokens"), SMALL)
async def test_500_at_once_never_overshoot_litellm_18730(
    store: Store, limit: str, tokens: int
) -> None:
    bucket = Bucket("key", "agents", parse(limit))
    leases = await takes(store, bucket, tokens)
    assert 20 == len(leases)
    for lease in leases:
        store.settle(lease, None)
    assert 20 == len(await takes(store, bucket, tokens)), "all of it came back"


@contextmanager
def claimer(url: str, limit: str, tokens: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.facade.limits.claim", url, limit, str(tokens)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert "ready\n" == process.stdout.readline()
            yield process
        finally:
            process.kill()


def claimed(processes: list[subprocess.Popen[str]]) -> list[int]:
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return [int(process.stdout.readline()) for process in processes if process.stdout]


@pytest.mark.store
@pytest.mark.parametrize(("limit", "tokens"), SMALL)
async def test_500_at_once_in_each_of_two_processes_never_overshoot(
    store_url: str, limit: str, tokens: int
) -> None:
    subject = await shared_subject(store_url)
    with ExitStack() as stack:
        two = [stack.enter_context(claimer(store_url, limit, tokens)) for _ in range(2)]
        assert 20 == sum(claimed(two))
    await subject.close()


@pytest.mark.store
async def test_the_places_of_a_killed_process_come_back_litellm_20256(store_url: str) -> None:
    subject = await shared_subject(store_url)
    with claimer(store_url, "20 concurrent", 1) as process:
        assert [20] == claimed([process])
    killed = int(time.time() * 1000)
    bucket = Bucket("key", "agents", parse("20 concurrent"))
    await subject.at(killed)
    assert isinstance(await result_of(subject.store.take(Lease((bucket,)))), Refusal)
    await subject.at(killed + subject.lapse)
    assert await result_of(subject.store.take(Lease((bucket,)))) is None
    await subject.close()
